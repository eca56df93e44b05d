"""MSP-Podcast: consensus and votes, partitions, and people without a name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from affetto.data.corpora import read_corpus
from affetto.data.manifest import Corpus
from affetto.errors import DataError
from affetto.labels import EMOTIONS

ROWS = (
    "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
    "MSP-PODCAST_0001_0008.wav,N,4.0,7,1,127,Male,Train\n"
    "MSP-PODCAST_0001_0019.wav,X,3.4,4.6,3.2,Unknown,Unknown,Development\n"
    "MSP-PODCAST_0002_0001.wav,C,4,4,4,8,Female,Test1\n"
    "MSP-PODCAST_0002_0002.wav,U,4,4,4,8,Female,Test2\n"
    "MSP-PODCAST_0003_0001.wav,,,,,9,Female,Test3\n"
    "MSP-PODCAST_0009_0001.wav,A,4,4,4,8,Female,Train\n"
)
NAMES = ("0001_0008", "0001_0019", "0002_0001", "0002_0002", "0003_0001")
FILES = {
    "Labels/labels_consensus.csv": ROWS,
    "Transcripts/MSP-PODCAST_0001_0008.txt": "so it goes\n",
    **{f"Audios/MSP-PODCAST_{name}.wav": b"" for name in NAMES},
}


def answers(*labels: str) -> dict[str, dict[str, object]]:
    return {
        f"WORKER{n:08}": {"EmoClass_Major": label, "EmoAct": 3, "EmoDom": 3, "EmoVal": 3}
        for n, label in enumerate(labels)
    }


DETAILED = json.dumps(
    {
        "MSP-PODCAST_0001_0008.wav": answers("Neutral", "Neutral", "Neutral", "Happy", "Other-calm"),
        "MSP-PODCAST_0001_0019.wav": answers("Sad", "Sad", "Angry", "Angry", "Contempt"),
        "MSP-PODCAST_0002_0001.wav": answers("Contempt", "Contempt", "Contempt", "Angry", "Neutral"),
        "MSP-PODCAST_0002_0002.wav": answers("Surprise", "Surprise", "Surprise"),
    }
)


def test_the_consensus_where_there_are_no_votes(put: Callable[..., Path]) -> None:
    corpus = read_corpus("msp_podcast", put(FILES))
    found = {clip.id[12:]: (clip.labels.get("emotion"), clip.split) for clip in corpus.clips}
    assert found == {
        "0001_0008": ("neutral", "train"),
        "0002_0002": ("surprise", "test"),
        "0003_0001": (None, "test"),
    }
    assert corpus.dropped == {"contempt": 1, "no agreement": 1}
    assert corpus.problems == ("left out 1 whose file is missing: MSP-PODCAST_0009_0001.wav",)
    clip = corpus.clips[0]
    assert (clip.text, clip.speaker, clip.gender) == ("so it goes", "127", "male")
    # Scale of 1 to 7.
    assert (clip.labels["valence"], clip.labels["arousal"], clip.labels["dominance"]) == (1.0, 0.0, -1.0)
    assert [clip.attributes["partition"] for clip in corpus.clips] == ["Train", "Test2", "Test3"]


def test_votes_as_distributions(
    put: Callable[..., Path], kept_by_a_manifest: Callable[[Corpus], bool]
) -> None:
    corpus = read_corpus("msp_podcast", put({**FILES, "Labels/labels_detailed.json": DETAILED}))
    clips = {clip.id[12:]: clip for clip in corpus.clips}
    zeros = dict.fromkeys(EMOTIONS, 0.0)
    assert clips["0001_0008"].labels["emotion"] == {**zeros, "neutral": 0.75, "happiness": 0.25}
    assert clips["0001_0008"].attributes["votes"] == "4"  # one of five has no place
    assert clips["0001_0019"].labels["emotion"] == {**zeros, "anger": 0.5, "sadness": 0.5}
    assert (clips["0001_0019"].attributes["majority"], clips["0001_0019"].speaker) == ("", None)
    assert clips["0001_0019"].split == "validation"
    assert corpus.dropped == {"contempt": 1}
    assert kept_by_a_manifest(corpus)


def test_older_releases_spell_the_table_otherwise(put: Callable[..., Path]) -> None:
    files = {name.replace("consensus", "concensus"): text for name, text in FILES.items()}
    assert len(read_corpus("msp_podcast", put(files)).clips) == 3


def test_answers_of_another_shape_are_refused(put: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="does not hold the annotators' answers") as caught:
        read_corpus("msp_podcast", put({**FILES, "Labels/labels_detailed.json": '{"a.wav": ["Sad"]}'}))
    assert caught.value.code == "corpus_layout"
