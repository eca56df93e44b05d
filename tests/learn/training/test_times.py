"""Words with times on their way through training: what a batch says of them, and who learns from it."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from affetto.features.text import train_tokenizer
from affetto.learn.config import AugmentConfig, FusionConfig, StageConfig
from affetto.learn.training.display import Display
from affetto.learn.training.loaders import Augmentation, BatchBuilder, BatchPlan, make_loader, move
from affetto.learn.training.loop import fit
from affetto.learn.training.media_cache import MediaCache
from affetto.learn.training.pairing import only_evidence, pair_by_label
from affetto.learn.training.run_folder import RunFolder
from affetto.records import Clip, Word

RATE = 16000
TEXT = "I hate this terrible mess"
#: On the clock of a medium of which the clip is what lies between 4 and 8 seconds. Nobody said "I".
SAID = (
    Word("hate", 4.4, 4.6),
    Word("this", 5.25, 5.35),
    Word("terrible", 6.1, 6.3),
    Word("mess", 7.4, 7.5),
)
MIDDLES = (0.5, 1.3, 2.2, 3.45)  # seconds after the clip's start
ANGRY = {"labels": {"emotion": "anger"}}
CLIP = Clip("1", speech="clicks", text=TEXT, words=SAID, start=4.0, end=8.0, **ANGRY)


def clicks(path, start=None, end=None):
    """Silence with a click in the middle of each word, on the clock of the medium."""
    wave = np.zeros(10 * RATE, np.float32)
    for word in SAID:
        wave[round((word.start + word.end) / 2 * RATE)] = 0.9
    return wave[round((start or 0.0) * RATE) : round((end or 10.0) * RATE)]


@pytest.fixture(scope="module")
def sized(model):
    """The tests' model, with room for all of the text."""
    return replace(model, text=replace(model.text, max_tokens=32))


@pytest.fixture
def clicking(sized):
    return MediaCache(sized, train_tokenizer([TEXT], 320), decode_speech=clicks)


def text_of(cache, clips, augmentation=None, plan=None):
    """The text's Track of a batch, and the batch."""
    cache.add(clips)
    batch = BatchBuilder(cache, (), augmentation)[plan or BatchPlan(tuple(clips))]
    return batch.inputs["text"], batch


def by_word(tokenizer, ids, times):
    """What the tokens of each word of `TEXT` have as their time: one number per word."""
    found = []
    for i, time in zip(ids.tolist(), times.tolist(), strict=True):
        token = tokenizer.id_to_token(i)
        if token.startswith("Ġ"):
            found.append([time])
        elif found:
            found[-1].append(time)
    assert all(len(set(map(str, times))) == 1 for times in found)
    return [times[0] for times in found]


# --- the batch ---


def test_tokens_have_the_middle_of_their_word_after_the_clips_start(clicking):
    track, _ = text_of(clicking, [CLIP])
    assert track.times.dtype == torch.float32
    assert track.times.shape == track.mask.shape
    assert torch.isnan(track.times[0, 0])  # [CLS]
    words = by_word(clicking.tokenizer, track.values[0], track.times[0])
    assert np.isnan(words[0])
    assert words[1:] == pytest.approx(MIDDLES, abs=1e-6)


def test_padding_and_rows_without_words_have_no_times(clicking):
    longer = Clip("2", text=f"{TEXT} {TEXT}", **ANGRY)
    track, _ = text_of(clicking, [CLIP, longer])
    assert torch.isnan(track.times[1]).all()
    assert torch.isnan(track.times[0][~track.mask[0]]).all()
    assert not torch.isnan(track.times[0]).all()


def test_without_words_there_are_no_times_at_all(clicking):
    track, _ = text_of(clicking, [replace(CLIP, words=()), Clip("2", text=TEXT)])
    assert track.times is None


def test_clips_that_share_a_text_have_their_own_times(clicking):
    slower = tuple(replace(word, start=word.start - 3, end=word.end + 1) for word in SAID)
    clips = [CLIP, replace(CLIP, words=slower), replace(CLIP, start=3.0)]
    track, _ = text_of(clicking, clips)
    first, shifted, earlier = (by_word(clicking.tokenizer, track.values[i], track.times[i]) for i in range(3))
    assert shifted[1:] == pytest.approx([time - 1 for time in first[1:]])
    assert earlier[1:] == pytest.approx([time + 1 for time in first[1:]])


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_after_crop_and_speed_words_stand_at_their_clicks(clicking, speed):
    config = AugmentConfig(
        noise_probability=0, gain_db=0, reverb_probability=0, word_dropout=0.5,
        speed_probability=1, speed_range=(speed, speed), crop_seconds=(1.5, 1.5),
    )  # fmt: skip
    augmentation, counts = Augmentation(config, 0, "all"), set()
    for epoch in range(12):
        plain, _ = text_of(clicking, [CLIP])
        track, batch = text_of(clicking, [CLIP], augmentation, BatchPlan((CLIP,), epoch))
        # Dropped words keep their place and their time, so the words are those of the plain text.
        words = by_word(clicking.tokenizer, plain.values[0], track.times[0])[1:]
        assert np.diff(words) == pytest.approx(np.diff(MIDDLES) / speed, abs=1e-5)
        wave = batch.inputs["speech"].values[0].abs().numpy()
        seconds = np.arange(len(wave)) / RATE
        within = [time for time in words if 0.01 < time < seconds[-1] - 0.01]
        near = np.abs(seconds[:, None] - np.array([[-9.0, *within]])).argmin(axis=1)
        for k, time in enumerate(within, start=1):
            mine = np.where(near == k, wave, 0)
            assert mine.max() > 0.3
            assert seconds[mine.argmax()] == pytest.approx(time, abs=2 / RATE)
        counts.add(len(within))
    assert counts >= {1, 2}  # the crop holds some words; the others keep their times outside of it


def test_text_without_speech_beside_it_is_not_stretched(clicking):
    alone = replace(CLIP, speech=None)
    config = AugmentConfig(speed_probability=1, speed_range=(1.25, 1.25), crop_seconds=(1.5, 1.5))
    track, _ = text_of(clicking, [CLIP, alone], Augmentation(config, 0, "all"))
    assert by_word(clicking.tokenizer, track.values[1], track.times[1])[1:] == pytest.approx(MIDDLES)


def test_a_composed_clip_has_no_common_clock(clicking, sized):
    speech, text = replace(CLIP, id="s", text=None, words=()), replace(CLIP, id="t", speech=None)
    clicking.add([speech, text])
    (composed,) = pair_by_label([speech, text], np.random.default_rng(0), task=sized.tasks[0], size=1)
    assert composed.modalities() == ("speech", "text")
    (whole,) = pair_by_label([CLIP], np.random.default_rng(0), task=sized.tasks[0], size=1)
    track, _ = text_of(clicking, [composed, whole])
    assert torch.isnan(track.times[0]).all()
    assert by_word(clicking.tokenizer, track.values[1], track.times[1])[1:] == pytest.approx(MIDDLES)


def test_words_without_a_text_are_the_text(clicking):
    bare = replace(CLIP, text=None)
    track, _ = text_of(clicking, [bare])
    written, _ = text_of(clicking, [replace(CLIP, text="hate this terrible mess")])
    assert torch.equal(track.values, written.values)
    np.testing.assert_array_equal(track.times, written.times)
    assert set(clicking.inputs(bare)) == {"speech", "text"}
    plan = BatchPlan((only_evidence(bare, ("speech",)),))
    assert set(BatchBuilder(clicking, ())[plan].inputs) == {"speech"}
    scripted = replace(bare, scripted=True)
    assert set(BatchBuilder(clicking, ())[BatchPlan((scripted,))].inputs) == {"speech"}


def test_times_travel_with_the_batch(clicking):
    track, batch = text_of(clicking, [CLIP])
    moved = move(batch, "meta").inputs
    assert moved["text"].times.device.type == "meta"
    assert moved["text"].times.shape == track.times.shape
    assert moved["speech"].times is None
    (loaded,) = make_loader(BatchBuilder(clicking, ()), [BatchPlan((CLIP,))], workers=1)
    np.testing.assert_array_equal(loaded.inputs["text"].times, track.times)


# --- the run ---

STAGE = StageConfig(
    "both", ("speech", "text"), steps=8, batch_size=6, lr=2e-2, validate_every=4, modality_dropout=0.2
)
SLOPES = "fusion.readers.0.speech.slopes"


class Interrupting(Display):
    """Ctrl-C after a number of steps."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def step(self, step, loss):
        self.at -= 1
        if self.at == 0:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch):
    """Drawing takes longer than these runs."""
    monkeypatch.setattr(RunFolder, "write_curves", lambda *_: None)


@pytest.fixture(scope="module")
def spoken(all_clips):
    """Clips with speech and the words said in it: the tones, and the words of the same emotion."""
    speech = [clip for clip in all_clips if clip.speech]
    texts = [clip.text for clip in all_clips if clip.corpus == "words"]
    found = []
    for clip, text in zip(speech, texts, strict=True):
        words = tuple(Word(word, 0.08 * i, 0.08 * i + 0.06) for i, word in enumerate(text.split()))
        found.append(replace(clip, text=text, words=words, scripted=False))
    return found


@pytest.fixture
def train(make_config, model, cache, tmp_path):
    """A short run with a form of fusion, in a folder of that name."""

    def run(clips, form, folder, **options):
        fusion = FusionConfig(name=form, tokens=1, layers=1, heads=2)
        config = make_config(STAGE, model=replace(model, vision=None, fusion=fusion))
        return fit(config, clips, tmp_path / folder, cache=cache, **options)

    return run


def without_words(clips):
    return [replace(clip, words=()) for clip in clips]


def changed(one, two):
    left, right = one.recogniser.state_dict(), two.recogniser.state_dict()
    return [name for name in left if not torch.equal(left[name], right[name])]


def test_slopes_learn_from_words_with_times_and_from_nothing_else(train, spoken):
    timed = train(spoken, "crossmodal", "timed")
    losses = [record["loss"] for record in timed.history]
    assert losses[-1] < losses[0]
    begun = torch.tensor([2.0, 1.0])  # the slopes as powers of two, before any step
    learned = timed.recogniser.state_dict()[SLOPES]
    assert ((learned - begun).abs() > 1e-4).all()
    plain = train(without_words(spoken), "crossmodal", "plain")
    assert torch.equal(plain.recogniser.state_dict()[SLOPES], begun)
    assert changed(timed, plain)


def test_an_interrupted_run_with_times_resumes_bit_for_bit(train, spoken):
    whole = train(spoken, "crossmodal", "whole")
    with pytest.raises(KeyboardInterrupt):
        train(spoken, "crossmodal", "stopped", display=Interrupting(3))
    resumed = train(spoken, "crossmodal", "stopped", resume=True)
    assert changed(whole, resumed) == []
    assert whole.history == resumed.history


@pytest.mark.parametrize("form", ["hybrid", "gated"])
def test_a_model_that_reads_no_times_is_the_same_with_words(train, spoken, form):
    timed, plain = train(spoken, form, "timed"), train(without_words(spoken), form, "plain")
    assert changed(timed, plain) == []
    assert timed.history == plain.history
    assert timed.scores == plain.scores
