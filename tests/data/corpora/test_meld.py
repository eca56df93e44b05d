"""MELD: the three tables, their films, and the films that cannot stand for their line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from affetto.data.corpora import read_corpus
from affetto.data.manifest import Corpus

HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
)
TRAIN = (
    '1,"Oh my God, he’s lost it.",Phoebe,sadness,negative,0,0,4,7,"00:20:57,256","00:21:00,049"\n'
    '2,What?,Monica,surprise,negative,0,1,4,7,"00:21:01,927","00:21:03,261"\n'
    '3,No.,Ross,anger,negative,125,3,4,7,"00:21:01,000","00:21:03,000"\n'
    '4,Hm.,Ross,bored,negative,126,0,4,7,"00:21:01,000","00:21:03,000"\n'
)
DEV = '1,Hi!,Joey,joy,positive,110,7,1,1,"0:01:00,000","0:01:02,000"\n'
TEST = (
    '1,So long.,Chandler,neutral,neutral,38,4,1,1,"00:13:31,060","00:18:36,000"\n'
    '2,Now!,Chandler,neutral,neutral,155,3,1,1,"0:12:32,632","0:12:32,632"\n'
    '3,Yes.,Joey,joy,positive,0,0,1,1,"0:00:01,500","0:00:02,000"\n'
)
TABLES = {
    "train_sent_emo.csv": HEADER + TRAIN,
    "dev_sent_emo.csv": HEADER + DEV,
    "test_sent_emo.csv": HEADER + TEST,
}
FILMS = {
    "train_splits/dia0_utt0.mp4": b"",
    "train_splits/dia0_utt1.mp4": b"",
    "train_splits/dia125_utt3.mp4": b"",
    "dev_splits_complete/dia0_utt0.mp4": b"",
    "output_repeated_splits_test/dia38_utt4.mp4": b"",
    "output_repeated_splits_test/dia155_utt3.mp4": b"",
    "output_repeated_splits_test/dia0_utt0.mp4": b"",
    "output_repeated_splits_test/._dia0_utt0.mp4": b"",
}


def test_meld_as_published(put: Callable[..., Path], kept_by_a_manifest: Callable[[Corpus], bool]) -> None:
    folder = put({**TABLES, **FILMS})
    corpus = read_corpus("meld", folder)
    found = {clip.id: (clip.split, clip.labels["emotion"], clip.speech is not None) for clip in corpus.clips}
    assert found == {
        "train-dia0_utt0": ("train", "sadness", True),
        "train-dia0_utt1": ("train", "surprise", True),
        "train-dia125_utt3": ("train", "anger", False),
        "dev-dia110_utt7": ("validation", "happiness", False),
        "test-dia38_utt4": ("test", "neutral", False),
        "test-dia155_utt3": ("test", "neutral", False),
        "test-dia0_utt0": ("test", "happiness", True),
    }
    assert corpus.problems == (
        "train-dia125_utt3 is text only: its film cannot be decoded",
        "left out train-dia126_utt0: its emotion is 'bored'",
        "dev-dia110_utt7 is text only: dev_splits_complete/dia110_utt7.mp4 is missing",
        "test-dia38_utt4 is text only: its times are 00:13:31,060 to 00:18:36,000",
        "test-dia155_utt3 is text only: its times are 0:12:32,632 to 0:12:32,632",
    )
    first = corpus.clips[0]
    assert first.speech == str(folder / "train_splits/dia0_utt0.mp4")
    assert (first.text, first.speaker, first.group) == ("Oh my God, he’s lost it.", "Phoebe", "train-dia0")
    assert first.labels["sentiment"] == "negative"
    assert first.attributes == {
        "season": "4", "episode": "7", "episode_start": "1257.26", "episode_end": "1260.05",
    }  # fmt: skip
    assert (first.start, first.end) == (None, None)  # the film is cut already
    assert kept_by_a_manifest(corpus)


def test_the_repository_alone_is_text(put: Callable[..., Path]) -> None:
    corpus = read_corpus("meld", put({f"data/MELD/{name}": text for name, text in TABLES.items()}))
    assert {clip.modalities() for clip in corpus.clips} == {("text",)}
    assert corpus.problems[0] == "there is no train_splits/: the train split is text only"


def test_a_missing_table_is_a_problem(put: Callable[..., Path]) -> None:
    corpus = read_corpus("meld", put({name: text for name, text in TABLES.items() if "dev" not in name}))
    assert "there is no validation split" in corpus.problems
    assert {clip.split for clip in corpus.clips} == {"train", "test"}
