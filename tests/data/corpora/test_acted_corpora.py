"""SAVEE, TESS, EMOVO and ESD: file names that are codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from affetto.data.audit import check_leaks
from affetto.data.corpora import read_corpus
from affetto.data.manifest import Corpus
from affetto.errors import DataError


def empty(*names: str) -> dict[str, bytes]:
    return dict.fromkeys(names, b"")


# --- SAVEE -----------------------------------------------------------------------------------------------

SAVEE = ("a01", "d02", "f03", "h04", "n30", "sa05", "su06")
IN_ORDER = ["anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"]


@pytest.mark.parametrize("name", ["AudioData/{}/{}.wav", "ALL/{}_{}.wav"])
def test_savee_as_published_and_in_one_folder(put: Callable[..., Path], name: str) -> None:
    files = (name.format(who, code) for who in ("DC", "KL") for code in SAVEE)
    corpus = read_corpus("savee", put(empty(*files, "AudioData/Info.txt", "AudioData/JE/noise.wav")))
    assert [clip.labels["emotion"] for clip in corpus.clips] == IN_ORDER * 2
    clip = corpus.clips[5]
    assert (clip.id, clip.speaker, clip.gender, clip.scripted) == ("DC-sa05", "DC", "male", True)
    assert (clip.attributes, clip.text) == ({"sentence": "sa05"}, None)


# --- TESS ------------------------------------------------------------------------------------------------


def test_tess_as_published(put: Callable[..., Path], kept_by_a_manifest: Callable[[Corpus], bool]) -> None:
    labels = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
    files = [f"YAF_{label}/YAF_back_{label}.wav" for label in labels]
    twice = [f"TESS copy/{file}" for file in files]
    corpus = read_corpus("tess", put(empty(*files, *twice, "OAF_neutral/OA_bite_neutral.wav", "readme.wav")))
    young = [clip.labels["emotion"] for clip in corpus.clips if clip.speaker == "YAF"]
    assert young == ["anger", "disgust", "fear", "happiness", "neutral", "surprise", "sadness"]
    (old,) = [clip for clip in corpus.clips if clip.speaker == "OAF"]
    assert (old.text, old.gender, old.attributes) == (
        "Say the word bite", "female", {"sentence": "bite", "age": "64"},
    )  # fmt: skip
    assert corpus.problems == (
        "left out 1 files with another kind of name: readme.wav",
        "left out 7 repeated files",
    )
    assert kept_by_a_manifest(corpus)


# --- EMOVO -----------------------------------------------------------------------------------------------


def test_emovo_as_published(put: Callable[..., Path]) -> None:
    codes = {"dis": "disgust", "gio": "happiness", "neu": "neutral", "pau": "fear", "rab": "anger",
             "sor": "surprise", "tri": "sadness"}  # fmt: skip
    files = [f"EMOVO/{who}/{code}-{who}-n2.wav" for who in ("f1", "m3") for code in codes]
    corpus = read_corpus("emovo", put(empty(*files)))
    assert {clip.id[:3]: clip.labels["emotion"] for clip in corpus.clips} == codes
    assert {(clip.speaker, clip.gender) for clip in corpus.clips} == {("f1", "female"), ("m3", "male")}
    assert {(clip.language, clip.attributes["sentence"]) for clip in corpus.clips} == {("it", "n2")}


# --- ESD -------------------------------------------------------------------------------------------------

ENGLISH = "0011_000351\tThe nine the eggs, I keep.\tAngry\n0011_000021\tA torn line\n"
CHINESE = "0004_000001\t打远一看，它们的确很是美丽。\t中立\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb2312"])
def test_esd_as_published(
    put: Callable[..., Path], encoding: str, kept_by_a_manifest: Callable[[Corpus], bool]
) -> None:
    files = empty(
        "0011/Angry/train/0011_000351.wav",
        "0011/Neutral/test/0011_000021.wav",
        "0004/Neutral/evaluation/0004_000001.wav",
    )
    texts = {"0011/0011.txt": ENGLISH.encode("latin-1"), "0004/0004.txt": CHINESE.encode(encoding)}
    corpus = read_corpus("esd", put({**files, **texts}))
    chinese, english, torn = corpus.clips
    assert (chinese.text, chinese.language, chinese.gender) == ("打远一看，它们的确很是美丽。", "zh", "male")
    assert (english.text, english.language, english.gender) == ("The nine the eggs, I keep.", "en", "male")
    assert (chinese.labels["emotion"], english.labels["emotion"]) == ("neutral", "anger")
    assert (chinese.split, english.split, torn.split) == ("validation", "train", "test")
    assert english.attributes["sentence"] == chinese.attributes["sentence"] == "1"
    assert (torn.text, corpus.problems) == (None, ("1 clips have no text",))
    assert kept_by_a_manifest(corpus)
    with pytest.raises(DataError, match="0011 of esd") as caught:
        check_leaks(corpus.clips)
    assert caught.value.code == "split_leak"


def test_esd_without_its_split_folders_and_all_speakers(put: Callable[..., Path]) -> None:
    files = (f"ESD/{who:04}/Surprise/{who:04}_001{who:03}.wav" for who in range(1, 21))
    corpus = read_corpus("esd", put(empty(*files)))
    assert {clip.split for clip in corpus.clips} == {None}
    # The authors' ReadMe: five Chinese and five English men, as many women.
    assert Counter((clip.language, clip.gender) for clip in corpus.clips) == {
        ("zh", "female"): 5, ("zh", "male"): 5, ("en", "female"): 5, ("en", "male"): 5,
    }  # fmt: skip
