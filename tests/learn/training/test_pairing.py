from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from affetto.errors import DataError
from affetto.learn.config import TaskConfig
from affetto.learn.training.pairing import (
    drop_modalities,
    only_evidence,
    pair_by_label,
    pair_count,
    words_as_text,
)
from affetto.records import Clip, Word

TASK = TaskConfig("emotion", labels=("anger", "happiness", "sadness"))
FULL = Clip("x", speech="s", text="t", vision="v", labels={"emotion": "anger"})


def emotion_of(medium):
    return next(label for label in TASK.labels if medium.startswith(label))


def test_pairs_agree_on_the_label_in_every_modality(clips):
    by_text = {clip.text: clip.labels["emotion"] for clip in clips if clip.corpus == "words"}
    pairs = pair_by_label(clips, np.random.default_rng(0), task=TASK, size=60)
    for pair in pairs:
        label = pair.labels["emotion"]
        assert emotion_of(pair.speech) == emotion_of(pair.vision) == by_text[pair.text] == label
        assert pair.modalities() == ("speech", "text", "vision")
    assert set(Counter(pair.labels["emotion"] for pair in pairs).values()) == {20}


def test_scripted_words_are_never_text(clips):
    pairs = pair_by_label(clips, np.random.default_rng(0), task=TASK, size=60)
    assert all(pair.text != "the same" and not pair.scripted for pair in pairs)


def test_media_are_combined_freely_given_the_label(clips):
    pairs = pair_by_label(clips, np.random.default_rng(0), task=TASK, size=300)
    angry = [pair for pair in pairs if pair.labels["emotion"] == "anger"]
    assert len({(pair.speech, pair.vision) for pair in angry}) > 0.4 * len(angry)
    assert (
        max(Counter(pair.speech for pair in angry).values()) - min(Counter(p.speech for p in angry).values())
        <= 1
    )


def test_pairing_is_deterministic_and_changes_with_its_generator(clips):
    first, again, other = (pair_by_label(clips, np.random.default_rng(s), task=TASK) for s in (1, 1, 2))
    assert first == again != other
    assert len(first) == pair_count(clips, TASK) == 42


def test_unclear_labels_are_left_out_and_votes_count():
    clips = [
        Clip("1", speech="a", labels={"emotion": "anger"}),
        Clip("2", text="both", labels={"emotion": ("anger", "sadness")}),
        Clip("3", vision="clear", labels={"emotion": {"anger": 7, "sadness": 3}}),
        Clip("4", vision="unclear", labels={"emotion": {"anger": 5, "sadness": 5}}),
    ]
    pairs = pair_by_label(clips, np.random.default_rng(0), task=TASK, size=5)
    assert {(pair.speech, pair.text, pair.vision) for pair in pairs} == {("a", None, "clear")}


def test_what_was_recorded_together_stays_together():
    clips = [
        Clip("1", speech="s1", text="t1", labels={"emotion": "anger"}),
        Clip("2", vision="v2", labels={"emotion": "anger"}),
    ]
    pairs = pair_by_label(clips, np.random.default_rng(0), task=TASK, size=4)
    assert {(pair.speech, pair.text, pair.vision) for pair in pairs} == {("s1", "t1", "v2")}


def test_words_come_with_the_speech_that_they_were_said_in():
    words = (Word("no", 2.1, 2.4),)
    together = Clip("1", speech="s1", text="No!", words=words, start=2.0, labels={"emotion": "anger"})
    (pair,) = pair_by_label([together], np.random.default_rng(0), task=TASK, size=1)[:1]
    assert (pair.words, pair.start) == (words, 2.0)
    apart = [replace(together, speech=None), Clip("2", speech="s2", labels={"emotion": "anger"})]
    pair = pair_by_label(apart, np.random.default_rng(0), task=TASK, size=1)[0]
    assert (pair.speech, pair.text, pair.words) == ("s2", "No!", ())


def test_words_are_the_text_where_there_is_no_other():
    clip = Clip("1", speech="s", words=(Word("no", 0.0, 0.2), Word("way", 0.3, 0.5)))
    assert words_as_text(clip).text == "no way"
    assert only_evidence(clip, ("speech", "text")).modalities() == ("speech", "text")
    alone = only_evidence(clip, ("speech",))
    assert (alone.modalities(), alone.words) == (("speech",), ())
    assert words_as_text(replace(clip, text="No way!")).text == "No way!"
    assert words_as_text(replace(clip, words=(Word(" ", 0.0, 0.1),))).text is None
    assert words_as_text(replace(clip, scripted=True)).modalities() == ("speech",)
    assert words_as_text(replace(clip, words=())) == replace(clip, words=())


def test_nothing_to_pair_is_an_error():
    with pytest.raises(DataError, match="one clear emotion") as error:
        pair_by_label([Clip("1", text="x")], np.random.default_rng(0), task=TASK)
    assert error.value.code == "nothing_to_predict"


def test_modality_dropout_gives_every_subset_a_share():
    rng = np.random.default_rng(0)
    counts = Counter(drop_modalities(FULL, 0.6, rng).modalities() for _ in range(6000))
    assert len(counts) == 7
    assert counts[("speech", "text", "vision")] == pytest.approx(2400, rel=0.1)
    assert all(counts[subset] == pytest.approx(600, rel=0.2) for subset in counts if len(subset) < 3)


def test_modality_dropout_leaves_single_modalities_alone():
    rng = np.random.default_rng(0)
    clip = Clip("1", text="x")
    assert all(drop_modalities(clip, 1.0, rng) == clip for _ in range(20))
    assert all(drop_modalities(FULL, 0.0, rng) == FULL for _ in range(20))


def test_only_evidence():
    assert only_evidence(FULL, ("speech", "vision")).modalities() == ("speech", "vision")
    scripted = Clip("1", speech="s", text="given", scripted=True)
    assert only_evidence(scripted, ("speech", "text")).text is None
