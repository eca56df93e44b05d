"""EmoryNLP and DailyDialog: dialogues as text, their splits, and what does not fit together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from affetto.data.corpora import read_corpus
from affetto.data.manifest import Corpus
from affetto.errors import DataError


def season(name: str, *lines: tuple[list[str], str, str]) -> str:
    """A season of one scene; a line is its speakers, its text and its emotion."""
    utterances = [
        {
            "utterance_id": f"s01_e02_c01_u{number:03}",
            "speakers": speakers,
            "transcript": text,
            "tokens": [text.split()],
            "emotion": emotion,
        }
        for number, (speakers, text, emotion) in enumerate(lines, start=1)
    ]
    scenes = [{"scene_id": "s01_e02_c01", "utterances": utterances}]
    return json.dumps({"season_id": name, "episodes": [{"episode_id": "s01_e02", "scenes": scenes}]})


TRAIN = season(
    "trn",
    (["Joey Tribbiani"], "Yeah, right!", "Neutral"),
    (["Phoebe Buffay"], "Oh, yeah!", "Joyful"),
    (["Rachel Green"], "Everything you need to know.", "Powerful"),
    (["Monica Geller", "Ross Geller"], "No!", "Scared"),
    (["Ross Geller"], "Hm.", "Puzzled"),
)


@pytest.mark.parametrize("inside", ["json/", ""])
def test_emorynlp_as_published(
    put: Callable[..., Path], inside: str, kept_by_a_manifest: Callable[[Corpus], bool]
) -> None:
    test = season("tst", (["Ross Geller"], "I am so mad.", "Mad")).replace("s01_e02", "s01_e10")
    files = {
        f"{inside}emotion-detection-trn.json": TRAIN,
        f"{inside}emotion-detection-tst.json": test,
    }
    corpus = read_corpus("emorynlp", put(files))
    found = [(clip.split, clip.speaker, clip.text, clip.labels["emotion"]) for clip in corpus.clips]
    assert found == [
        ("train", "Joey Tribbiani", "Yeah, right!", "neutral"),
        ("train", "Phoebe Buffay", "Oh, yeah!", "happiness"),
        ("train", None, "No!", "fear"),
        ("test", "Ross Geller", "I am so mad.", "anger"),
    ]
    assert corpus.dropped == {"powerful": 1}
    assert corpus.problems == (
        "left out s01_e02_c01_u005: its emotion is 'Puzzled'",
        "there is no validation split",
    )
    assert corpus.clips[3].group == "s01_e10_c01"
    assert kept_by_a_manifest(corpus)


@pytest.mark.parametrize("text", ["{}", "[]", "not JSON", '{"episodes": [{"scenes": 3}]}'])
def test_a_file_of_another_shape_is_refused(put: Callable[..., Path], text: str) -> None:
    with pytest.raises(DataError, match="does not hold EmoryNLP's episodes") as caught:
        read_corpus("emorynlp", put({"json/emotion-detection-trn.json": text}))
    assert caught.value.code == "corpus_layout"


DIALOGUES = (
    "Say , Jim , how about a beer ? __eou__ You know that is tempting . __eou__\n"
    "Half the labels __eou__ are missing __eou__\n"
    "Good morning ! __eou__\n"
)
EMOTIONS = "0 4 \n2 \n6 \n"


@pytest.mark.parametrize("inside", ["{0}/", "{0}/{0}/"])
def test_dailydialog_as_published(
    put: Callable[..., Path], inside: str, kept_by_a_manifest: Callable[[Corpus], bool]
) -> None:
    files = {
        f"{inside.format(split)}{name}_{split}.txt": text
        for split in ("train", "validation")
        for name, text in (
            ("dialogues", DIALOGUES),
            ("dialogues_emotion", EMOTIONS),
            ("dialogues_act", "1 1\n"),
        )
    }
    corpus = read_corpus("dailydialog", put(files))
    train = [clip for clip in corpus.clips if clip.split == "train"]
    assert [(clip.id, clip.group, clip.labels["emotion"], clip.text) for clip in train] == [
        ("train-1-1", "train-1", "neutral", "Say , Jim , how about a beer ?"),
        ("train-1-2", "train-1", "happiness", "You know that is tempting ."),
        ("train-3-1", "train-3", "surprise", "Good morning !"),
    ]
    assert len(corpus.clips) == 6
    assert corpus.problems == (
        "left out dialogues_train.txt line 2: its labels are not one an utterance",
        "left out dialogues_validation.txt line 2: its labels are not one an utterance",
        "there is no test split",
    )
    assert kept_by_a_manifest(corpus)


def test_dailydialog_with_a_number_that_is_no_emotion(put: Callable[..., Path]) -> None:
    files = {"train/dialogues_train.txt": DIALOGUES, "train/dialogues_emotion_train.txt": "0 12\n0 7\n6\n"}
    corpus = read_corpus("dailydialog", put(files))
    assert [clip.id for clip in corpus.clips] == ["train-3-1"]
