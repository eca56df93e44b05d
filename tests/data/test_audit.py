"""The audit: a leak is refused with the names."""

from __future__ import annotations

import pytest

from affetto.data.audit import check_leaks, check_speaker_leaks, duplicate_clips
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
    check_leaks(clips)
    check_speaker_leaks(clips)


def test_a_speaker_in_two_splits_is_named_with_corpus_and_splits() -> None:
    clips = [clip("1", "train", "nemo", speaker="SM0"), clip("2", "test", "nemo", speaker="SM0")]
    with pytest.raises(DataError) as caught:
        check_speaker_leaks(clips)
    assert caught.value.code == "split_leak"
    assert "1 speaker stands in more than one split: SM0 of nemo (in test and train)" in str(caught.value)


def test_many_leaks_are_counted_and_the_first_named() -> None:
    clips = [
        clip(f"{n}{split}", split, None, speaker=f"s{n}") for n in range(9) for split in ("train", "test")
    ]
    with pytest.raises(DataError, match=r"9 speakers stand .* s0 \(in test and train\), .* and 4 more"):
        check_leaks(clips)


def test_a_session_in_two_splits_is_a_leak_too() -> None:
    clips = [clip("1", "train", group="s1", speaker="a"), clip("2", "test", group="s1", speaker="b")]
    check_speaker_leaks(clips)
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
