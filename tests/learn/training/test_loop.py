"""Whole runs on the corpus in memory: they learn, they repeat, they resume bit for bit, they refuse."""

import errno
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from affetto.errors import ConfigError, DataError, TrainingError
from affetto.learn.config import SharingConfig, StageConfig, TaskConfig
from affetto.learn.training.checkpoint import LAST, PREVIOUS, read_checkpoint
from affetto.learn.training.display import Display
from affetto.learn.training.loop import Start, fit
from affetto.learn.training.media_cache import MediaCache
from affetto.learn.training.run_folder import RunFolder
from affetto.learn.training.stage import StageModule
from digests import digest

# 3 epochs of 3 steps, then 6 steps in epochs of 5: stops fall within and on the ends of epochs and stages.
SPEECH = StageConfig(
    "speech",
    ("speech",),
    epochs=3,
    batch_size=12,
    lr=5e-3,
    ema=0.9,
    mixup=0.2,
    label_smoothing=0.1,
    patience=2,
)
FUSION = StageConfig(
    "fusion",
    ("speech", "text", "vision"),
    steps=6,
    batch_size=6,
    lr=5e-3,
    validate_every=4,
    freeze=("encoders.speech",),
    paired=True,
    modality_dropout=0.5,
)


class Watching(Display):
    """Calls `act` when the run has done `at` steps in all."""

    def __init__(self, at, act):
        super().__init__()
        self.done, self.at, self.act, self.losses = 0, at, act, []

    def step(self, step, loss):
        self.done += 1
        self.losses.append(loss)
        if self.done == self.at:
            self.act()


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def crash():
    raise RuntimeError("power cut")


def assert_same_run(left, right):
    one, two = left.recogniser.state_dict(), right.recogniser.state_dict()
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    assert left.history == right.history
    for name in ("metrics.jsonl", "tokenizer.json", "config.yaml", "predictions/validation.npz"):
        assert digest((left.run_folder / name).read_bytes()) == digest(
            (right.run_folder / name).read_bytes()
        ), name


@pytest.fixture(autouse=True)
def _no_curves(whole, monkeypatch):
    """Drawing takes longer than these runs; the run that nothing interrupts has drawn."""
    monkeypatch.setattr(RunFolder, "write_curves", lambda *_: None)


@pytest.fixture(scope="module")
def config(make_config):
    return make_config(SPEECH, FUSION)


@pytest.fixture(scope="module")
def whole(config, all_clips, cache, tmp_path_factory):
    """The run that nothing interrupts."""
    return fit(config, all_clips, tmp_path_factory.mktemp("runs") / "whole", cache=cache)


def test_two_runs_of_one_seed_are_equal_whatever_ran_before(whole, config, clips, cache, tmp_path):
    torch.manual_seed(99)
    np.random.seed(99)
    assert_same_run(whole, fit(config, clips, tmp_path / "again", cache=cache))


def test_a_validated_vote_takes_its_weights_from_the_validation_clips(
    make_config, model, clips, cache, tmp_path
):
    late = replace(model, fusion=replace(model.fusion, name="late", vote="validated"))
    stage = StageConfig("all", ("speech", "text", "vision"), steps=2, batch_size=12)
    done = fit(make_config(stage, model=late), clips, tmp_path / "run", cache=cache)
    expected = [max(done.scores[f"emotion.{m}.uar"] - 1 / 3, 1e-6) for m in late.modalities]
    assert done.recogniser.votes["emotion"].scores.tolist() == pytest.approx(expected)


def test_another_seed_gives_another_model(whole, config, clips, cache, tmp_path):
    other = fit(replace(config, seed=4), clips, tmp_path / "other", cache=cache)
    weights = (run.recogniser.state_dict()["heads.emotion.speech.out.weight"] for run in (whole, other))
    assert not torch.equal(*weights)


@pytest.mark.parametrize("at", [1, 6, 9, 14])
def test_an_interrupted_run_resumes_bit_for_bit(whole, config, clips, cache, tmp_path, at):
    with pytest.raises(KeyboardInterrupt):
        fit(config, clips, tmp_path / "run", cache=cache, display=Watching(at, interrupt))
    torch.manual_seed(at)
    assert_same_run(whole, fit(config, clips, tmp_path / "run", cache=cache, resume=True))


def test_sigterm_saves_too_and_handlers_are_given_back(whole, config, clips, cache, tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        fit(config, clips, tmp_path / "run", cache=cache, display=Watching(5, terminate))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / LAST)["state"]["step"] == 5
    assert_same_run(whole, fit(config, clips, tmp_path / "run", cache=cache, resume=True))


def test_a_resumed_run_has_the_losses_and_the_whole_checkpoint_of_one_that_went_through(
    config, clips, cache, tmp_path
):
    through, first, second = (Watching(at, interrupt) for at in (8, 5, 3))
    for display, folder in ((through, "a"), (first, "b"), (second, "b")):
        with pytest.raises(KeyboardInterrupt):
            fit(config, clips, tmp_path / folder, cache=cache, resume=True, display=display)
    assert through.losses == first.losses + second.losses
    left, right = (read_checkpoint(tmp_path / folder / "checkpoints" / LAST) for folder in "ab")
    assert left["state"]["step"] == 8
    assert len(left["optimizer"]["state"]) > 10
    assert_same_state(left, right)


def assert_same_state(left, right, path=""):
    """Bit for bit, down to the last tensor."""
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right), path
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), path
        for key in left:
            assert_same_state(left[key], right[key], f"{path}.{key}")
    elif isinstance(left, list):
        for i, (one, two) in enumerate(zip(left, right, strict=True)):
            assert_same_state(one, two, f"{path}.{i}")
    else:
        assert left == right, path


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_before_the_step_that_would_take_it(
    what, config, clips, cache, tmp_path, monkeypatch
):
    whole = StageModule.loss_of

    def poisoned(module, batch):
        loss = whole(module, batch)
        if module.state.step != 3:
            return loss
        return loss * torch.inf if what == "loss" else loss + (loss - loss.detach()).sqrt()

    monkeypatch.setattr(StageModule, "loss_of", poisoned)
    with pytest.raises(
        TrainingError, match=rf"stage speech, step 3: the {what} is \w+ for the clips s-"
    ) as error:
        fit(config, clips, tmp_path / "run", cache=cache, checkpoint_every=0.0)
    assert error.value.code == "loss_not_finite"
    saved = read_checkpoint(tmp_path / "run" / "checkpoints" / LAST)
    assert saved["state"]["step"] == 3
    assert all(torch.isfinite(value).all() for value in saved["recogniser"].values())


def test_a_disk_that_is_full_stops_the_run_and_it_goes_on_from_what_was_saved(
    whole, config, clips, cache, tmp_path, monkeypatch
):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fills = Watching(6, lambda: monkeypatch.setattr(os, "fsync", full))
    with pytest.raises(DataError, match="No space left on device; free space there"):
        fit(config, clips, tmp_path / "run", cache=cache, display=fills, checkpoint_every=0.0)
    monkeypatch.undo()
    monkeypatch.setattr(RunFolder, "write_curves", lambda *_: None)
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / LAST)["state"]["step"] == 5
    assert_same_run(whole, fit(config, clips, tmp_path / "run", cache=cache, resume=True))


def test_a_run_that_crashes_again_and_again_ends_the_same(whole, config, clips, cache, tmp_path):
    for at in (4, 6, 3):
        with pytest.raises(RuntimeError, match="power cut"):
            fit(
                config, clips, tmp_path / "run", cache=cache, resume=True,
                display=Watching(at, crash), checkpoint_every=0.0,
            )  # fmt: skip
    assert_same_run(whole, fit(config, clips, tmp_path / "run", cache=cache, resume=True))


def test_a_corrupt_last_checkpoint_costs_one_save(whole, config, clips, cache, tmp_path):
    display = Watching(7, crash)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(config, clips, tmp_path / "run", cache=cache, display=display, checkpoint_every=0.0)
    last = tmp_path / "run" / "checkpoints" / LAST
    last.write_bytes(last.read_bytes()[:-7])
    with pytest.warns(RuntimeWarning, match=PREVIOUS):
        resumed = fit(config, clips, tmp_path / "run", cache=cache, resume=True)
    assert_same_run(whole, resumed)


def test_worker_processes_change_nothing(whole, config, clips, cache, tmp_path):
    helped = replace(config, train=replace(config.train, workers=1))
    other = fit(helped, clips, tmp_path / "helped", cache=cache)
    one, two = whole.recogniser.state_dict(), other.recogniser.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_finished_run_gives_its_result_again(whole, config, clips, cache):
    again = fit(config, clips, whole.run_folder, cache=cache, resume=True, display=Watching(1, crash))
    assert_same_run(whole, again)
    assert not again.recogniser.training


def test_a_run_folder_holds_everything(whole, clips):
    folder = whole.run_folder
    names = {"config.yaml", "metrics.jsonl", "curves.png", "tokenizer.json", "unreadable.csv"}
    assert names < {path.name for path in folder.iterdir()}
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {LAST, PREVIOUS, "best-speech.ckpt"}
    held_out = [clip for clip in clips if clip.split == "validation"]
    with np.load(folder / "predictions" / "validation.npz") as stored:
        assert stored["ids"].tolist() == [clip.id for clip in held_out]
        assert stored["logits.emotion.vote"].shape == (len(held_out), 3)
        assert stored["present.speech"].tolist() == [clip.speech is not None for clip in held_out]
        assert stored["target_mask.emotion"].all()


def test_frozen_parts_stay_as_they_were(whole, make_config, clips, cache, tmp_path):
    alone = fit(make_config(SPEECH), clips, tmp_path / "alone", cache=cache).recogniser.state_dict()
    after = whole.recogniser.state_dict()
    frozen = [name for name in after if name.startswith("encoders.speech.")]
    assert any("running_mean" in name for name in frozen)
    assert all(torch.equal(alone[name], after[name]) for name in frozen)
    assert not torch.equal(alone["heads.emotion.fused.out.weight"], after["heads.emotion.fused.out.weight"])


def test_a_stage_leaves_other_modalities_alone(make_config, clips, cache, tmp_path):
    short, longer = (replace(SPEECH, ema=None, patience=None, epochs=n) for n in (1, 2))
    one, two = (
        fit(make_config(stage), clips, tmp_path / str(stage.epochs), cache=cache).recogniser.state_dict()
        for stage in (short, longer)
    )
    changed = {".".join(name.split(".")[:2]) for name in one if not torch.equal(one[name], two[name])}
    assert changed == {"encoders.speech", "fusion.unimodal", "heads.emotion"}
    assert torch.equal(one["heads.emotion.text.out.weight"], two["heads.emotion.text.out.weight"])
    assert torch.equal(one["heads.emotion.fused.out.weight"], two["heads.emotion.fused.out.weight"])


def test_a_stage_of_one_modality_learns_the_same_without_what_merges(
    make_config, clips, cache, tmp_path, monkeypatch
):
    config = make_config(StageConfig("text", ("text",), steps=5, batch_size=8, lr=1e-2))
    without = fit(config, clips, tmp_path / "without", cache=cache)
    assert set(without.history[-1]["scores"]) == {"emotion.text.uar", "emotion.text.wa"}
    monkeypatch.setattr(StageModule, "alone", False)
    whole = fit(config, clips, tmp_path / "whole", cache=cache)
    one, two = without.recogniser.state_dict(), whole.recogniser.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert without.history == whole.history


def test_it_learns(make_config, clips, cache, tmp_path):
    stages = (
        StageConfig("speech", ("speech",), steps=36, batch_size=12, lr=2e-2, validate_every=36),
        StageConfig("text", ("text",), steps=18, batch_size=12, lr=3e-2, validate_every=18),
        StageConfig("vision", ("vision",), steps=36, batch_size=12, lr=2e-2, validate_every=36),
        replace(FUSION, steps=12, batch_size=12, freeze=("encoders", "fusion.unimodal")),
    )
    result = fit(make_config(*stages), clips, tmp_path / "run", cache=cache)
    assert result.scores["emotion.speech.uar"] >= 0.6
    assert result.scores["emotion.text.uar"] >= 0.9
    assert result.scores["emotion.vision.uar"] >= 0.6
    assert result.history[-1]["scores"]["emotion.vote.uar"] >= 0.9


def test_patience_goes_back_to_the_best_weights(make_config, clips, cache, tmp_path):
    stage = replace(SPEECH, epochs=12, patience=1, lr=3e-2, mixup=0.0)
    result = fit(make_config(stage), clips, tmp_path / "run", cache=cache)
    scores = [record["score"] for record in result.history]
    assert len(scores) < 12
    assert max(scores) == max(scores[:-1]) >= scores[-1]
    assert result.scores["emotion.speech.uar"] == max(scores)


def test_a_speaker_in_two_splits_is_refused_by_name(config, clips, tmp_path):
    clips[-3] = replace(clips[-3], speaker="train1")
    with pytest.raises(DataError, match=r"train1 of tones \(in train and validation\)") as error:
        fit(config, clips, tmp_path / "run")
    assert error.value.code == "split_leak"
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_names_its_clips_and_stops_before_the_step(
    make_config, clips, model, tokenizer, tmp_path
):
    def decode(path, start=None, end=None):
        wave = np.full(8000, 0.1, np.float32)
        return wave

    stage = StageConfig("speech", ("speech",), epochs=1, batch_size=8, lr=1e-3)
    clips = [clip for clip in clips if clip.vision is None]
    cache = MediaCache(model, tokenizer, decode_speech=decode)
    start = {"heads.emotion.speech.out.bias": torch.full((3,), torch.inf)}
    message = r"stage speech, step 0: the loss is nan for the clips s-\w+/train"
    with pytest.raises(TrainingError, match=message) as error:
        fit(make_config(stage), clips, tmp_path / "run", cache=cache, start=Start(start))
    assert error.value.code == "loss_not_finite"


def test_unreadable_clips_are_reported_and_training_goes_on(make_config, clips, cache, tmp_path):
    clips.append(replace(clips[0], id="bad", speech="broken/0"))
    result = fit(make_config(replace(SPEECH, epochs=1)), clips, tmp_path / "run", cache=cache)
    assert list(result.unreadable) == [("tones", "bad")]
    assert "bad,audio_corrupt" in (result.run_folder / "unreadable.csv").read_text()


def test_weights_that_fit_are_taken_over(whole, make_config, clips, model, cache, tmp_path):
    other = replace(model, tasks=(TaskConfig("emotion", labels=("anger", "happiness", "sadness", "fear")),))
    stage = replace(FUSION, steps=1, lr=1e-9, freeze=("encoders", "fusion"))
    weights = {name: value.half() for name, value in whole.recogniser.state_dict().items()}
    result = fit(make_config(stage, model=other), clips, tmp_path / "run", cache=cache, start=Start(weights))
    name = "encoders.text.embedding.weight"
    assert torch.equal(result.recogniser.state_dict()[name], weights[name].float())
    start = Start({"something": torch.zeros(1)})
    with pytest.raises(ConfigError, match="no weight there fits"):
        fit(make_config(stage), clips, tmp_path / "other", cache=cache, start=start)


def test_a_stage_without_validation_clips_still_runs(make_config, clips, cache, tmp_path):
    train = [clip for clip in clips if clip.split == "train"]
    result = fit(make_config(replace(SPEECH, epochs=1)), train, tmp_path / "run", cache=cache)
    assert result.scores == {}
    assert result.history[-1]["score"] is None


def test_what_cannot_run_is_refused_before_anything_is_written(make_config, clips, tmp_path):
    config = make_config(SPEECH)
    with pytest.raises(ConfigError, match="but this is one process"):
        fit(replace(config, train=replace(config.train, devices=2)), clips, tmp_path / "run")
    with pytest.raises(ConfigError, match="at least one of"):
        fit(make_config(), clips, tmp_path / "run")
    assert not (tmp_path / "run").exists()


TOGETHER = StageConfig(
    "together",
    ("speech", "text", "vision"),
    steps=6,
    batch_size=6,
    paired=True,
    track_mixup=0.4,
    consistency=0.3,
    reconstruction=0.2,
    validate_every=3,
)
TASKS = (
    TaskConfig("emotion", labels=("anger", "happiness", "sadness"), focus=1.0, effective_beta=0.9),
    TaskConfig("speaker", "identity", weight=0.5),
    TaskConfig("language", labels=("en", "other"), adversarial=0.7),  # no clip says it
    TaskConfig("unknown speaker", "identity", views=("speech",), adversarial=0.7),
    TaskConfig("valence", "dimension"),
)


@pytest.mark.parametrize("weights", ["uncertainty", "gradnorm"])
def test_many_tasks_and_losses_in_one_run_resume_bit_for_bit(
    make_config, model, clips, cache, tmp_path, weights
):
    several = replace(model, tasks=TASKS, sharing=SharingConfig("cross-stitch"))
    config = make_config(replace(TOGETHER, task_weights=weights), model=several)
    whole = fit(config, clips, tmp_path / "whole", cache=cache)
    with pytest.raises(KeyboardInterrupt):
        fit(config, clips, tmp_path / "run", cache=cache, display=Watching(4, interrupt))
    assert_same_run(whole, fit(config, clips, tmp_path / "run", cache=cache, resume=True))
    people = [task.labels for task in whole.config.model.tasks if task.kind == "identity"]
    assert people[0] == people[1]
    assert set(people[0]) == {f"{c}/train{i}" for c in ("tones", "words", "faces") for i in (0, 1)}
    logged = whole.history[-1]["task_weights"]
    assert logged["language"] == logged["unknown speaker"] == 1.0
    assert logged["emotion"] != 1.0
    assert logged["valence"] == 1.0  # no clip has the label
    assert "speaker.speech.eer" in whole.history[-1]["scores"]
    assert "emotion.vote.uar" in whole.history[-1]["scores"]
