"""IEMOCAP: a dialogue of the official layout, its votes, dimensions, words and both label sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from affetto.data.corpora import read_corpus
from affetto.data.manifest import Corpus
from affetto.errors import ConfigError
from affetto.labels import EMOTIONS
from affetto.records import Word

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 3.0000, 5.0000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral; Frustration;\t(curious; Anger)
C-E4:\tNeutral;\t()
C-F1:\tAnger;\t()
A-E3:\tval 3; act 2; dom  2;\t()
A-F1:\tval 3; act 2; dom  1;\t()

[10.0100 - 11.3925]\tSes01F_impro01_M001\tfru\t[2.0000, 4.0000, 3.0000]
C-E2:\tFrustration;\t()
C-E3:\tFrustration;\t()
C-E4:\tAnger;\t()

[14.8872 - 18.0175]\tSes01F_impro01_M002\texc\t[4.0000, 4.0000, 3.0000]
C-E2:\tExcited;\t()
C-E3:\tHappiness;\t()
C-E4:\tExcited;\t()

[20.0000 - 21.0000]\tSes01F_impro01_F003\txxx\t[3.0000, 3.0000, 3.0000]
C-E2:\tOther;\t()
C-E3:\tAnger;\t()
C-E4:\tSadness;\t()

[22.0000 - 23.0000]\tSes01F_impro01_F004\tang\t[1.0000, 4.0000, 4.0000]
C-E2:\tAnger;\t()
"""
TRANSCRIPT = """Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
Ses01F_impro01_M001 [010.0100-011.3925]: Do you have your forms?
M: (LAUGHTER)
Ses01F_impro01_MXX0 [012.0000-012.5000]: Uh huh.
Ses01F_impro01_M002 [014.8872-018.0175]: Great!
"""
ALIGNED = (
    "\t SFrm  EFrm    SegAScr Word\n\t    0    29    -100 <s>\n\t   30    84 -200 EXCUSE\n\t 85 99 -7 ME(2)\n"
)
WAVS = ("F000", "M001", "M002", "F003")  # F004 is missing


@pytest.fixture
def iemocap(put: Callable[..., Path]) -> Path:
    session = "Session1"
    turn = f"{session}/sentences/wav/Ses01F_impro01/Ses01F_impro01_"
    return put(
        {
            f"{session}/dialog/EmoEvaluation/Ses01F_impro01.txt": EVALUATION,
            f"{session}/dialog/EmoEvaluation/._Ses01F_impro01.txt": b"\0\5\x16\7",
            f"{session}/dialog/transcriptions/Ses01F_impro01.txt": TRANSCRIPT,
            f"{session}/sentences/ForcedAlignment/Ses01F_impro01/Ses01F_impro01_F000.wdseg": ALIGNED,
            "Session2/dialog/EmoEvaluation/Ses02M_script01_1b.txt": (
                "[1.00 - 2.00]\tSes02M_script01_1b_F000\tsad\t[1.0, 1.0, 1.0]\nC-E1:\tSadness;\t()\n"
            ),
            "Session2/sentences/wav/Ses02M_script01_1b/Ses02M_script01_1b_F000.wav": b"",
            **{f"{turn}{name}.wav": b"" for name in WAVS},
        }
    )


def test_the_usual_four_classes(iemocap: Path) -> None:
    corpus = read_corpus("iemocap", iemocap)
    found = {clip.id: (clip.labels["emotion"], clip.speaker, clip.gender) for clip in corpus.clips}
    assert found == {
        "Ses01F_impro01_F000": ("neutral", "Ses01F", "female"),
        "Ses01F_impro01_M002": ("happiness", "Ses01M", "male"),
        "Ses02M_script01_1b_F000": ("sadness", "Ses02F", "female"),
    }
    assert corpus.dropped == {"frustration": 1, "no agreement": 1}
    assert corpus.problems == (
        "left out 1 whose file is missing: Ses01F_impro01_F004",
        "2 turns have no words with times",
    )


def test_a_turn_has_its_text_words_dimensions_and_dialogue(iemocap: Path) -> None:
    first, second, third = read_corpus("iemocap", iemocap).clips
    assert first.speech == str(iemocap / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav")
    assert (first.text, second.text, third.text) == ("Excuse me.", "Great!", None)
    assert first.words == (Word("EXCUSE", 0.3, 0.85), Word("ME", 0.85, 1.0))
    # Scale of 1 to 5: 2.5 lies a quarter below the middle, 3 in the middle, 5 at the end.
    assert (first.labels["valence"], first.labels["arousal"], first.labels["dominance"]) == (-0.25, 0.0, 1.0)
    assert (first.group, first.attributes) == ("Ses01F_impro01", {"session": "1", "scene": "impro01"})
    assert (third.group, third.attributes["scene"]) == ("Ses02M_script01_1b", "script01_1b")
    assert not first.scripted


def test_raw_keeps_every_turn_and_the_votes_as_given(iemocap: Path) -> None:
    corpus = read_corpus("iemocap", iemocap, labels="raw")
    clips = {clip.id.rpartition("_")[2]: clip for clip in corpus.clips if clip.id.startswith("Ses01")}
    assert (len(corpus.clips), corpus.dropped) == (5, {})
    assert clips["F000"].labels["iemocap"] == {"neutral": 3.0, "frustration": 1.0}  # not the comment's Anger
    assert clips["F000"].labels["emotion"] == {**dict.fromkeys(EMOTIONS, 0.0), "neutral": 1.0}
    assert clips["M001"].labels["emotion"] == {**dict.fromkeys(EMOTIONS, 0.0), "anger": 1.0}
    assert clips["M002"].labels["emotion"] == {**dict.fromkeys(EMOTIONS, 0.0), "happiness": 1.0}
    shares = {**dict.fromkeys(EMOTIONS, 0.0), "anger": 0.5, "sadness": 0.5}
    assert clips["F003"].labels["emotion"] == shares
    published = {
        name: (clip.attributes["label"], clip.attributes["majority"]) for name, clip in clips.items()
    }
    assert published == {
        "F000": ("neutral", "neutral"),
        "M001": ("frustration", ""),
        "M002": ("excited", "happiness"),
        "F003": ("no agreement", ""),
    }


@pytest.mark.parametrize("labels", ["four", "raw"])
def test_a_manifest_keeps_it(
    iemocap: Path, labels: str, kept_by_a_manifest: Callable[[Corpus], bool]
) -> None:
    assert kept_by_a_manifest(read_corpus("iemocap", iemocap, labels=labels))


def test_other_labels_are_refused(iemocap: Path) -> None:
    with pytest.raises(ConfigError, match="labels 'six': expected four or raw") as caught:
        read_corpus("iemocap", iemocap, labels="six")
    assert caught.value.code == "option_invalid"
