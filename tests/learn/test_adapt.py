"""Few clips adapt a bundle's heads: by the stated loss, only where that foresees, and nothing else moves."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from affetto.bundle import Calibration, VectorScale
from affetto.errors import ConfigError, DataError
from affetto.learn.export import adapt
from affetto.learn.export.adapt import adapt_bundle, adapt_head
from affetto.learn.export.card import Card
from affetto.learn.export.writer import with_calibration
from affetto.learn.training import media_cache
from affetto.predictor import Predictor
from affetto.records import Clip
from digests import digest
from sounds import voice_like

pytestmark = pytest.mark.usefixtures("quick_export")


def clouds(shift, n=10, width=6, seed=0):
    """Vectors [3n D] around a place for each of three classes, and base logits that say nothing."""
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(3), n)
    vectors = rng.normal(size=(3 * n, width)) + shift * np.eye(3, width)[targets] + 5.0
    return vectors, np.zeros((3 * n, 3)), targets


def test_the_change_is_the_optimum_of_the_stated_loss():
    vectors, logits, targets = clouds(2.0)
    change = adapt_head(vectors, logits, targets)
    centred = vectors - vectors.mean(axis=0)
    x = centred / np.sqrt((centred**2).sum(axis=1).mean())
    powers = np.exp(logits + change(vectors))
    error = powers / powers.sum(axis=1, keepdims=True) - np.eye(3)[targets]
    scale = np.sqrt((centred**2).sum(axis=1).mean())
    # Where the slope of the cross-entropy and that of the penalty cancel.
    np.testing.assert_allclose(error.T @ x, -change.strength * change.weight * scale, atol=1e-3)
    bias = change.bias + change.weight @ vectors.mean(axis=0)
    np.testing.assert_allclose(error.sum(axis=0), -change.strength * bias, atol=1e-3)


def test_what_can_be_told_is_learnt_and_left_out_clips_were_not_seen():
    vectors, logits, targets = clouds(3.0)
    change = adapt_head(vectors, logits, targets)
    others, _, truth = clouds(3.0, seed=1)
    assert (change(others).argmax(axis=1) == truth).mean() > 0.8
    assert (change.left_out.argmax(axis=1) == targets).mean() > 0.7
    assert np.abs(change.left_out - change(vectors)).max() > 0.01


def test_what_cannot_be_told_changes_nothing():
    vectors, logits, targets = clouds(0.0, width=40)
    change = adapt_head(vectors, logits, targets)
    assert change.strength is None
    assert (change.left_out == logits).all()
    assert not change.weight.any()
    assert not change.bias.any()


# --- a bundle ---


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Four people, two emotions: a voice, and the same with a hum under it."""
    folder, found = tmp_path_factory.mktemp("own"), []
    hum = 0.4 * np.sin(2 * np.pi * 90 * np.arange(16000) / 16000)
    for i in range(24):
        emotion, name = ("anger", "sadness")[i % 2], f"{i}.wav"
        soundfile.write(folder / name, 0.5 * voice_like(1.0, seed=i) + (hum if i % 2 else 0), 16000)
        split = "train" if i < 16 else "validation"
        found.append(
            Clip(
                id=name,
                speech=str(folder / name),
                speaker=f"p{i // 4}",
                labels={"emotion": emotion},
                split=split,
            )
        )
    return found


@pytest.fixture(scope="module")
def adapted(tiny_bundle, clips, tmp_path_factory):
    return adapt_bundle(tiny_bundle, clips, tmp_path_factory.mktemp("adapted") / "bundle", name="mine")


def test_before_and_after_are_what_the_bundles_answer(adapted, tiny_bundle, clips):
    held_out = [clip for clip in clips if clip.split == "validation"]
    assert (adapted.held_out, adapted.clips) == (True, 8)
    for bundle, told in ((tiny_bundle, adapted.before), (adapted.bundle, adapted.after)):
        model = Predictor(bundle)
        said = [model.predict_clip(clip).probabilities for clip in held_out]
        right = [
            max(p, key=p.__getitem__) == c.labels["emotion"] for p, c in zip(said, held_out, strict=True)
        ]
        assert told == pytest.approx(np.mean(right))  # as many of either
    assert adapted.after > adapted.before


def test_only_the_heads_of_what_was_heard_move(adapted, tiny_bundle):
    old, new = tiny_bundle, adapted.bundle
    assert new.info.name == "mine"
    assert new.info.corpora[-1].clips == 16
    for part in ("speech", "text", "vision"):
        for precision in old.precisions():
            assert digest(new.read_part(part, precision)) == digest(old.read_part(part, precision))
    for precision in old.precisions():
        before, after = (Predictor(bundle, precision=precision) for bundle in (old, new))
        text = [model.predict(text="leave me alone").probabilities for model in (before, after)]
        assert text[1] == pytest.approx(text[0], abs=1e-4)
        speech = [model.predict(speech=voice_like(1.0)).probabilities for model in (before, after)]
        assert speech[1] != pytest.approx(speech[0], abs=1e-2)


def test_clips_that_cannot_be_read_move_no_label(tiny_bundle, clips, tmp_path, adapted, monkeypatch):
    monkeypatch.setattr(media_cache, "MOST_UNREADABLE", 0.5)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    # In front of all clips of either split, so that every label would move by one.
    bad = [
        replace(clip, id=f"bad {clip.split}", speech=str(broken), labels={"emotion": "fear"})
        for clip in (clips[0], clips[16])
    ]
    deaf = replace(clips[17], id="deaf", speech=None, features={"speech": "nothing.npz"})
    result = adapt_bundle(tiny_bundle, [*bad, deaf, *clips], tmp_path / "bundle", name="mine")
    assert {"bad train", "bad validation"} <= {name for _, name in result.unreadable}
    assert (result.clips, result.before, result.after) == (adapted.clips, adapted.before, adapted.after)


def test_calibration_is_of_held_out_clips_where_there_are_enough(tiny_bundle, clips, tmp_path, adapted):
    assert adapted.bundle.info.calibration == tiny_bundle.info.calibration
    held_out = [replace(clip, split="validation" if i >= 2 else "train") for i, clip in enumerate(clips)]
    new = adapt_bundle(tiny_bundle, held_out, tmp_path / "bundle", name="mine", leaks=["a leak"]).bundle
    for precision, tasks in tiny_bundle.info.calibration.items():
        changed = {
            name
            for name, old in tasks["emotion"].items()
            if new.info.calibration[precision]["emotion"][name] != old
        }
        assert changed == {"speech"}
    card = new.read("README.md").decode()
    assert "but for speech, fitted on held-out clips" in card
    assert "Trained although a leak" in card
    assert new.info.leaks == ("a leak",)


# --- a bundle with vector scaling ---


@pytest.fixture(scope="module")
def leaning(tiny_bundle, tmp_path_factory):
    """The tiny bundle, whose answers to speech or text alone lean to fear by vector scaling."""
    rng = np.random.default_rng(0)
    lean = {"scale": tuple(rng.uniform(0.5, 2, 7)), "bias": tuple(0.2 * (np.arange(7) == 2) + 0.0)}
    views = ("vote", "fused", "speech", "text")
    found = Calibration(
        temperatures=dict.fromkeys(views, 1.5), vectors=dict.fromkeys(views, VectorScale(**lean))
    )
    subsets = {"speech": found, "text": found}
    calibration = {precision: {"emotion": subsets} for precision in tiny_bundle.precisions()}
    return with_calibration(tiny_bundle, tmp_path_factory.mktemp("leaning") / "b", calibration, Card())


def test_before_and_after_are_what_bundles_with_vector_scaling_answer(leaning, clips, tmp_path):
    result = adapt_bundle(leaning, clips, tmp_path / "bundle", name="mine")
    held_out = [clip for clip in clips if clip.split == "validation"]
    for bundle, told in ((leaning, result.before), (result.bundle, result.after)):
        said = [Predictor(bundle).predict_clip(clip).probabilities for clip in held_out]
        right = [max(p, key=p.get) == c.labels["emotion"] for p, c in zip(said, held_out, strict=True)]
        assert told == pytest.approx(np.mean(right))
    assert result.after > result.before
    for by_task in result.bundle.info.calibration.values():
        assert not by_task["emotion"]["speech"].vectors
        assert by_task["emotion"]["speech"].temperatures["speech"] == 1.5
        assert by_task["emotion"]["text"] == leaning.info.calibration["int8"]["emotion"]["text"]


def test_vector_scaling_becomes_part_of_a_head_that_is_adapted(leaning, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(adapt, "STRENGTHS", (1e6,))  # moves the head by next to nothing
    result = adapt_bundle(leaning, clips, tmp_path / "bundle", name="mine")
    assert not result.bundle.info.calibration["fp32"]["emotion"]["speech"].vectors
    before, after = (
        Predictor(bundle, precision="fp32").predict_clip(clips[0]).modalities["speech"].probabilities
        for bundle in (leaning, result.bundle)
    )
    assert after == pytest.approx(before, abs=1e-3)


def test_a_head_that_nothing_moves_keeps_its_vector_scaling(leaning, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(adapt, "STRENGTHS", ())
    result = adapt_bundle(leaning, clips, tmp_path / "bundle", name="mine")
    assert result.bundle.info.calibration == leaning.info.calibration
    assert result.after == result.before
    before, after = (Predictor(b).predict_clip(clips[0]).probabilities for b in (leaning, result.bundle))
    assert after == pytest.approx(before, abs=1e-3)


def test_without_a_split_each_clip_is_left_out_in_turn(tiny_bundle, clips, tmp_path, monkeypatch):
    # What is said of the clips is known before a bundle is written, and writing one takes longest.
    monkeypatch.setattr(adapt, "_write", lambda bundle, *_: bundle)
    own = [replace(clip, split=None) for clip in clips[:10]]
    result = adapt_bundle(tiny_bundle, own, tmp_path / "bundle", name="mine")
    assert (result.held_out, result.clips) == (False, 10)


def test_what_cannot_be_adapted_to_is_refused(tiny_bundle, clips, tmp_path):
    with pytest.raises(DataError) as caught:
        adapt_bundle(tiny_bundle, [replace(clips[0], labels={})], tmp_path / "bundle", name="mine")
    assert caught.value.code == "nothing_to_predict"
    angry = [replace(clip, labels={"emotion": "anger"}) for clip in clips]
    with pytest.raises(DataError, match="every clip to adapt to is 'anger'"):
        adapt_bundle(tiny_bundle, angry, tmp_path / "bundle", name="mine")
    bundle = replace(tiny_bundle, info=tiny_bundle.info.model_copy(update={"tasks": ()}))
    with pytest.raises(ConfigError, match="linear heads"):
        adapt_bundle(bundle, clips, tmp_path / "bundle", name="mine")
