"""Hints: they stand where their moment is heard, an encoder learns to tell them, and a run resumes with them."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from affetto.errors import ConfigError, DataError
from affetto.learn.config import ExperimentConfig, HintConfig, StageConfig, apply_settings
from affetto.learn.training.augmentation import Stretch
from affetto.learn.training.display import Display
from affetto.learn.training.hints import FIRST, HINT, STEP, WIDTH, HintHead, Hints, listen
from affetto.learn.training.loop import fit
from affetto.learn.training.rate_finder import find_rate
from affetto.records import Clip, Track
from backbones import write_speech_network

SPEECH = StageConfig("speech", ("speech",), steps=6, batch_size=12, lr=5e-3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_speech_network(tmp_path_factory.mktemp("published") / "embedding_model.onnx"))


def clock(steps: int) -> np.ndarray:
    """Hints that say what time it is in the clip."""
    return np.repeat((FIRST + STEP * np.arange(steps))[:, None], WIDTH, axis=1).astype(np.float16)


def test_hints_move_with_what_is_heard() -> None:
    hints = Hints({("c", "a"): clock(40), ("c", "b"): clock(20)})
    clips = [
        Clip("a", speech="a", corpus="c"),
        Clip("b", speech="b", corpus="c"),
        Clip("z", corpus="c", text="z"),
    ]
    targets, there = hints.targets(clips, [Stretch(1.0, 1.25), Stretch(), Stretch()])
    assert there.tolist() == [True, True, False]
    values = targets[HINT]
    assert np.isnan(values[:, -1]).all()
    times = FIRST + STEP * np.arange(values.shape[1])
    # The last hint stands at 39 steps of the clip: 3.12 s, of which 1 s is cut off.
    assert np.isfinite(values[0, :, 0]).sum() == int((39 * STEP - 1.0) / 1.25 / STEP) + 1
    heard = np.isfinite(values[0, :, 0])
    np.testing.assert_allclose(values[0, heard, 0], (1.0 + 1.25 * times)[heard], atol=2e-3)
    assert np.isfinite(values[1, :, 0]).sum() == 20
    np.testing.assert_allclose(values[1, :20, 5], times[:20], atol=2e-3)
    assert np.isnan(values[2]).all()


@pytest.mark.parametrize("steps", [1, 30, 59, 60, 117])
def test_hints_end_with_the_clip_or_with_what_is_heard(steps: int) -> None:
    hints, clip = Hints({("c", "a"): clock(steps)}), Clip("a", speech="a", corpus="c")
    whole = hints.targets([clip], [Stretch()])[0][HINT]
    assert np.isfinite(whole[0, :, 0]).sum() == steps
    part = hints.targets([clip], [Stretch(0.0, 1.0, 0.5)])[0][HINT]
    assert np.isfinite(part[0, :, 0]).sum() == min(steps, 7)


def test_the_head_compares_steps_with_hints_of_their_moment_alone() -> None:
    head = HintHead(2, weight=3.0)
    torch.nn.init.zeros_(head.out.weight)
    torch.nn.init.zeros_(head.out.bias)
    hints = torch.full((1, 4, WIDTH), torch.nan)
    hints[0, :3] = torch.tensor([0.5, 9.0, 0.1])[:, None]
    # An encoder of half the rate: its steps stand on the first and the third hint, and behind the last.
    track = Track(
        torch.ones(1, 3, 2), torch.ones(1, 3, dtype=torch.bool), torch.tensor([[0.0125, 0.1725, 0.3]])
    )
    assert head(track, hints).item() == pytest.approx(3.0 * (0.5 * 0.25 + 0.5 * 0.01) / 2)
    assert head(replace(track, mask=torch.zeros(1, 3, dtype=torch.bool)), hints).item() == 0.0


def test_clips_are_heard_once_and_hints_are_standardised(weights, clips, cache, tmp_path: Path) -> None:
    cache.add(clips)
    hints = listen(HintConfig(weights), clips, cache, tmp_path / "hints.npz")
    spoken = [clip for clip in clips if clip.speech is not None]
    assert set(hints.rows) == {(clip.corpus, clip.id) for clip in spoken}
    values = np.concatenate(list(hints.rows.values())).astype(np.float32)
    assert values.shape[1] == WIDTH
    np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=0.01)
    steps = [len(hints.rows[clip.corpus, clip.id]) for clip in spoken]
    assert steps == [pytest.approx(len(cache.speech(clip)) / 1280, abs=1.5) for clip in spoken]
    again = listen(HintConfig("gone.onnx"), clips, cache, tmp_path / "hints.npz")
    assert all(np.array_equal(again.rows[key], row) for key, row in hints.rows.items())


def test_an_encoder_learns_to_tell_them(
    weights, make_config, clips, cache, tmp_path: Path, monkeypatch
) -> None:
    costs: list[float] = []
    forward = HintHead.forward

    def watched(self, track, hints):
        loss = forward(self, track, hints)
        costs.append(loss.item())
        return loss

    monkeypatch.setattr(HintHead, "forward", watched)
    stage = replace(SPEECH, steps=40, hint=HintConfig(weights, weight=5.0))
    fit(make_config(stage), clips, tmp_path / "run", cache=cache)
    assert np.mean(costs[-5:]) < 0.8 * np.mean(costs[:5])


def test_a_run_with_hints_resumes_bit_for_bit(weights, make_config, clips, cache, tmp_path: Path) -> None:
    config = make_config(replace(SPEECH, hint=HintConfig(weights)))
    whole = fit(config, clips, tmp_path / "whole", cache=cache)
    plain = fit(make_config(SPEECH), clips, tmp_path / "plain", cache=cache)

    class Stopping(Display):
        def step(self, step: int, loss: float) -> None:
            if step == 3:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(config, clips, tmp_path / "cut", cache=cache, display=Stopping())
    resumed = fit(config, clips, tmp_path / "cut", cache=cache, resume=True)
    one, two, other = (run.recogniser.state_dict() for run in (whole, resumed, plain))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_batches_without_speech_cost_no_hints(weights, make_config, clips, cache, tmp_path: Path) -> None:
    modalities = ("speech", "text", "vision")
    stage = StageConfig("all", modalities, steps=12, batch_size=2, lr=5e-3, hint=HintConfig(weights))
    assert fit(make_config(stage), clips, tmp_path / "run", cache=cache).scores


def test_a_rate_is_found_for_a_stage_with_hints(
    weights, make_config, clips, cache, model, tmp_path: Path
) -> None:
    cache.add(clips)
    spoken = [clip for clip in clips if clip.speech is not None]
    for i, clip in enumerate(spoken):
        soundfile.write(tmp_path / f"{i}.wav", cache.speech(clip), 16000)
    spoken = [replace(clip, speech=str(tmp_path / f"{i}.wav")) for i, clip in enumerate(spoken)]
    heard = replace(model, text=None, vision=None)
    config = make_config(replace(SPEECH, hint=HintConfig(weights)), model=heard)
    assert len(find_rate(config, spoken, steps=4).rates) == 4


def test_clips_without_speech_have_no_hints(clips, cache, weights, tmp_path: Path) -> None:
    written = [clip for clip in clips if clip.speech is None]
    with pytest.raises(DataError, match="no training clip of the stage has speech"):
        listen(HintConfig(weights), written, cache, tmp_path / "hints.npz")


@pytest.mark.parametrize(
    "setting", ["paired=true", "track_mixup=0.2", "mixup=0.2", "modalities=[text]", "objective=masked"]
)
def test_where_nothing_can_tell_hints_they_are_refused(setting: str, make_config, weights: str) -> None:
    config: ExperimentConfig = make_config(replace(SPEECH, hint=HintConfig(weights)))
    with pytest.raises(ConfigError, match="hint: an encoder of speech tells them"):
        apply_settings(config, [f"train.stages.0.{setting}"])


def test_a_network_that_is_not_there_is_named(make_config, clips, cache, tmp_path: Path) -> None:
    config = make_config(replace(SPEECH, hint=HintConfig(str(tmp_path / "gone.onnx"))))
    with pytest.raises(ConfigError, match=r"stage speech: hint.weights .*gone\.onnx is not there"):
        fit(config, clips, tmp_path / "run", cache=cache)
