"""CMU-MOSEI, the raw release: segments by their times, and the answers of several annotators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from affetto.data.corpora import read_corpus
from affetto.data.manifest import Corpus
from affetto.errors import DataError

TEXT = (
    "-x_1___0___-0.5___4.25___I see that a writer ___ is a liar\n"
    "-x_1___1___4.25___9.5___So.\n"
    "-x_1___2___9.5___9.0___(stutter)\n"
    "-x_1___3___10___12___Nobody answered.\n"
)
HEADER = (
    "HITId,Input.VIDEO_ID,Input.CLIP,WorkerId,Answer.anger,Answer.disgust,Answer.fear,Answer.happiness,"
    "Answer.sadness,Answer.sentiment,Answer.surprise\n"
)
FIRST = "h,folder/-x_1,0,w1,2,0,0,0,0,-3,0\nh,folder/-x_1,0,w2,0,1,0,0,0,-1,\nh,-x_1,1,w1,0,0,0,0,0,0,0\n"
SECOND = "h,-x_1,0,w3,0,0,0,0,0,1,0\nh,-x_1,2,w3,0,0,0,0,0,1,0\n"


@pytest.mark.parametrize("inside", ["Raw/", ""])
def test_mosei_as_published(
    put: Callable[..., Path], inside: str, kept_by_a_manifest: Callable[[Corpus], bool]
) -> None:
    folder = put(
        {
            f"{inside}Transcript/Segmented/Combined/-x_1.txt": TEXT,
            f"{inside}Transcript/Segmented/Combined/gone.txt": "gone___0___0___1___Hi\n",
            f"{inside}Audio/Full/WAV_16000/-x_1.wav": b"",
            f"{inside}Labels/Batch_1.csv": HEADER + FIRST,
            f"{inside}Labels/Batch_2.csv": HEADER + SECOND,
        }
    )
    corpus = read_corpus("mosei_raw", folder)
    first, second = corpus.clips
    assert (first.id, first.start, first.end, first.group) == ("-x_1_0", 0.0, 4.25, "-x_1")
    assert first.text == "I see that a writer ___ is a liar"
    assert first.speech == str(folder / f"{inside}Audio/Full/WAV_16000/-x_1.wav")
    assert first.labels == {"emotion": ("anger", "disgust"), "sentiment": -1.0}
    assert second.labels == {"sentiment": 0.0}
    assert corpus.problems == (
        "left out 1 segments whose times run backwards",
        "left out 1 segments without labels",
        "left out 1 whose file is missing: gone.wav",
    )
    assert kept_by_a_manifest(corpus)


def test_a_table_of_other_answers_is_refused(put: Callable[..., Path]) -> None:
    files = {"Transcript/Segmented/Combined/a.txt": "a___0___0___1___Hi\n", "Labels/x.csv": "a,b\n1,2\n"}
    with pytest.raises(DataError, match=r"has not the columns Input\.VIDEO_ID") as caught:
        read_corpus("mosei_raw", put(files))
    assert caught.value.code == "corpus_layout"
