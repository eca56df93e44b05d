"""The audit: a leak is refused with the names."""

from __future__ import annotations

import pytest

from affetto.data.audit import check_leaks, duplicate_clips, find_leaks
from affetto.errors import DataError
from affetto.records import Clip


def clip(name: str, split: str | None, corpus: str | None = "c", **known: str) -> Clip:
    return Clip(name, text="x", split=split, corpus=corpus, **known)  # type: ignore[arg-type]


def test_clean_splits_pass() -> None:
    clips = [
        clip("1", "train", speaker="a"),
        clip("2", "train", speaker="a"),
        clip("3", "test", speaker="b"),
        clip("4", None, speaker="a"),
        clip("5", "test", corpus="d", speaker="a"),
        clip("6", "test"),
        clip("7", "train"),
    ]
    assert check_leaks(clips) == []


def test_a_speaker_in_two_splits_is_named_with_corpus_and_splits() -> None:
    clips = [clip("1", "train", "nemo", speaker="SM0"), clip("2", "test", "nemo", speaker="SM0")]
    with pytest.raises(DataError) as caught:
        check_leaks(clips)
    assert caught.value.code == "split_leak"
    assert "1 speaker stands in more than one split: SM0 of nemo (in test and train)" in str(caught.value)


def test_many_leaks_are_counted_and_the_first_named() -> None:
    clips = [
        clip(f"{n}{split}", split, None, speaker=f"s{n}") for n in range(9) for split in ("train", "test")
    ]
    with pytest.raises(DataError, match=r"9 speakers stand .* s0 \(in test and train\), .* and 6 more"):
        check_leaks(clips)


def test_a_session_in_two_splits_is_a_leak_too() -> None:
    clips = [clip("1", "train", group="s1", speaker="a"), clip("2", "test", group="s1", speaker="b")]
    with pytest.raises(DataError, match="1 group stands in more than one split: s1 of c"):
        check_leaks(clips)


def test_duplicates_are_of_one_corpus() -> None:
    clips = [
        clip("1", None),
        clip("1", None),
        clip("1", None, "d"),
        clip("2", None, None),
        clip("2", None, None),
    ]
    assert duplicate_clips(clips) == [("", "2"), ("c", "1")]


def test_what_is_allowed_is_told() -> None:
    clips = [clip("1", "train", speaker="a"), clip("2", "test", speaker="a")]
    (leak,) = check_leaks(clips, allowed=["speaker_leak"])
    assert (leak.code, leak.clips) == ("speaker_leak", ("c/1", "c/2"))
    with pytest.raises(DataError):
        check_leaks(clips, allowed=["group_leak"])


def spoken(name: str, split: str, text: str, **known: bool) -> Clip:
    return Clip(name, text=text, split=split, **known)


def test_a_sentence_in_two_splits_is_a_leak_where_the_text_is_evidence() -> None:
    said = "Nobody ever told me about it!"
    clips = [spoken("1", "train", said), spoken("2", "test", "nobody ever told me, about it")]
    (leak,) = find_leaks(clips)
    assert (leak.code, leak.severity, leak.clips) == ("sentence_leak", "leak", ("2",))
    assert (
        find_leaks([spoken("1", "train", said, scripted=True), spoken("2", "test", said, scripted=True)])
        == []
    )
    assert find_leaks([spoken("1", "train", "Thank you!"), spoken("2", "test", "Thank you!")]) == []
    others = [spoken(f"o{n}", "test", f"a sentence of its own number {n}") for n in range(60)]
    (note,) = find_leaks([*clips, *others])
    assert note.severity == "note"


def test_stretches_of_one_recording_belong_to_one_split() -> None:
    clips = [
        Clip("1", speech="day.wav", start=0.0, end=5.0, split="train"),
        Clip("2", speech="day.wav", start=4.0, end=9.0, split="test"),
    ]
    (leak,) = find_leaks(clips)
    assert leak.code == "recording_leak"
