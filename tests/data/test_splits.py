"""Splits and folds: nobody twice, genders alike, the same whatever the order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affetto.data.audit import check_leaks
from affetto.data.splits import folds_by_speaker, hold_out_corpus, reserve, split_by_speaker
from affetto.errors import DataError
from affetto.records import Clip


def spoken(corpus: str, women: Iterable[str], men: Iterable[str], clips: int = 3) -> list[Clip]:
    people = [(name, "female") for name in women] + [(name, "male") for name in men]
    return [
        Clip(f"{name}-{take}", speech=f"{name}-{take}.wav", speaker=name, gender=gender, corpus=corpus)
        for name, gender in people
        for take in range(clips)
    ]


def written(texts: Iterable[str], corpus: str = "texts", split: str | None = None) -> list[Clip]:
    return [
        Clip(f"{corpus}-{split}-{number}", text=text, corpus=corpus, split=split)
        for number, text in enumerate(texts)
    ]


def people(clips: Iterable[Clip], split: str) -> set[tuple[str | None, str | None]]:
    return {(clip.corpus, clip.speaker) for clip in clips if clip.split == split}


RAVDESS = spoken("ravdess", [f"{n:02}" for n in range(2, 17, 2)], [f"{n:02}" for n in range(1, 17, 2)])
NEMO = spoken("nemo", ["IC0", "KD0", "MK0"], ["MP0", "SM0", "TP0"])
EMODB = spoken("emodb", ["08", "09", "13", "14", "16"], ["03", "10", "11", "12", "15"])


# --- shares ----------------------------------------------------------------------------------------------


def test_shares_hold_for_every_corpus_and_gender() -> None:
    clips = split_by_speaker(RAVDESS + NEMO, {"train": 0.5, "validation": 0.25, "test": 0.25}, seed=3)
    for corpus, sizes in (("ravdess", (8, 4, 4)), ("nemo", (3, 2, 1))):
        found = {split: {c.speaker: c.gender for c in clips if (c.corpus, c.split) == (corpus, split)}
                 for split in ("train", "validation", "test")}  # fmt: skip
        assert sorted(map(len, found.values())) == sorted(sizes)
        assert len(set().union(*found.values())) == sum(sizes)
        for members in found.values():
            genders = Counter(members.values())
            assert abs(genders["female"] - genders["male"]) <= 1


def test_a_small_share_still_gets_a_speaker_of_each_corpus() -> None:
    clips = split_by_speaker(RAVDESS + NEMO + EMODB, {"train": 0.98, "validation": 0.02})
    assert {corpus for corpus, _ in people(clips, "validation")} == {"ravdess", "nemo", "emodb"}


def test_one_speaker_alone_goes_to_the_largest_share() -> None:
    clips = split_by_speaker(NEMO + spoken("grid", [], ["s1"]), {"train": 0.8, "validation": 0.2})
    assert people(clips, "train") >= {("grid", "s1")}


def test_seeds_differ_and_repeat() -> None:
    fractions = {"train": 0.5, "test": 0.5}
    answers = [split_by_speaker(RAVDESS, fractions, seed) for seed in range(6)]
    assert answers == [split_by_speaker(RAVDESS, fractions, seed) for seed in range(6)]
    assert len({frozenset(people(clips, "test")) for clips in answers}) > 3
    single = [split_by_speaker(NEMO, {"train": 0.9, "test": 0.1}, seed) for seed in range(20)]
    assert {clip.gender for clips in single for clip in clips if clip.split == "test"} == {"female", "male"}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("123456"), st.sampled_from("fm ")), max_size=40
    ),
    st.lists(st.sampled_from(["Yes.", "yes. ", "No!", "Well", "Oh dear"]), max_size=10),
    st.integers(0, 5),
)
def test_no_person_and_no_text_is_ever_in_two_splits(
    voices: list[tuple[str, str, str]], texts: list[str], seed: int
) -> None:
    clips = [
        Clip(f"v{n}", speech=f"{n}.wav", speaker=name, gender=gender.strip() or None, corpus=corpus)
        for n, (corpus, name, gender) in enumerate(voices)
    ]
    clips += written(texts)
    fractions = {"train": 0.6, "validation": 0.2, "test": 0.2}
    try:
        divided = split_by_speaker(clips, fractions, seed)
    except DataError as error:
        if error.code == "split_impossible":
            return
        raise
    check_leaks(divided)
    assert [clip.id for clip in divided] == [clip.id for clip in clips]
    homes: dict[str, set[str | None]] = {}
    for clip in divided:
        if clip.text:
            homes.setdefault(clip.text.strip().casefold(), set()).add(clip.split)
    assert all(len(splits) == 1 for splits in homes.values())
    shuffled = random.Random(seed).sample(clips, len(clips))
    again = {clip.id: clip.split for clip in split_by_speaker(shuffled, fractions, seed)}
    assert again == {clip.id: clip.split for clip in divided}


def test_texts_are_divided_by_share_and_stay_where_they_were_as_more_arrive() -> None:
    clips = written(f"sentence {n}" for n in range(2000))
    fractions = {"train": 0.9, "validation": 0.1}
    divided = split_by_speaker(clips, fractions)
    assert Counter(clip.split for clip in divided)["validation"] == pytest.approx(200, abs=45)
    fewer = split_by_speaker(clips[:500], fractions)
    assert fewer == divided[:500]


def test_a_split_that_is_there_is_kept_and_joined() -> None:
    clips = spoken("c", ["a", "b", "d", "e"], [])
    clips[0] = replace(clips[0], split="test")
    divided = split_by_speaker(clips, {"train": 0.5, "validation": 0.5})
    assert people(divided, "test") == {("c", "a")}
    assert len(people(divided, "train")) + len(people(divided, "validation")) == 3
    new = written(["Hello there"], "other")
    divided = split_by_speaker(written(["hello  THERE"], split="test") + new, {"test": 0.5})
    assert [clip.split for clip in divided] == ["test", "test"]


def test_a_text_in_several_official_splits_stays_in_the_highest() -> None:
    clips = (
        written(["same", "own train"], split="train")
        + written(["same", "twice"], split="validation")
        + written(["SAME"], split="test")
        + written(["twice", "same"], split="train")
    )
    kept = split_by_speaker(clips, {"train": 1.0})
    assert [(clip.split, clip.text) for clip in kept] == [
        ("train", "own train"),
        ("validation", "twice"),
        ("test", "SAME"),
    ]


def test_scripted_text_binds_nobody() -> None:
    clips = [replace(clip, text="the same", scripted=True) for clip in RAVDESS]
    divided = split_by_speaker(clips, {"train": 0.5, "test": 0.5})
    assert len(divided) == len(clips)
    assert people(divided, "train")
    assert people(divided, "test")


@pytest.mark.parametrize("fractions", [{}, {"train": 0.0}, {"train": 0.9, "test": -0.1}])
def test_shares_must_be_positive(fractions: dict[str, float]) -> None:
    with pytest.raises(DataError, match="must all be above 0") as caught:
        split_by_speaker(RAVDESS, fractions)
    assert caught.value.code == "split_impossible"


def test_too_few_speakers_for_the_splits() -> None:
    with pytest.raises(DataError, match="nothing is left for test: 3 clips of 1 speakers") as caught:
        split_by_speaker(spoken("c", ["a"], []), {"train": 0.8, "test": 0.2})
    assert caught.value.code == "split_impossible"


# --- folds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clips", "folds", "size"), [(RAVDESS, 4, 4), (NEMO, 3, 2), (EMODB, 5, 2)])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_folds_have_as_many_women_as_men(clips: list[Clip], folds: int, size: int, seed: int | None) -> None:
    members = folds_by_speaker(clips, folds, seed)
    assert sorted(clip.id for fold in members for clip in fold) == sorted(clip.id for clip in clips)
    seen: set[str | None] = set()
    for fold in members:
        genders = {clip.speaker: clip.gender for clip in fold}
        assert not seen & set(genders)
        seen |= set(genders)
        assert Counter(genders.values()) == {"female": size // 2, "male": size // 2}


def test_folds_are_the_ones_the_protocols_name() -> None:
    folds = folds_by_speaker(RAVDESS, 4)
    assert sorted({clip.speaker for clip in folds[0]}) == ["01", "02", "09", "10"]
    pairs = [sorted({clip.speaker for clip in fold}) for fold in folds_by_speaker(NEMO, 3)]
    assert pairs == [["IC0", "MP0"], ["KD0", "SM0"], ["MK0", "TP0"]]


def test_folds_of_a_corpus_do_not_depend_on_the_others() -> None:
    alone = folds_by_speaker(NEMO, 3)
    together = folds_by_speaker(EMODB + NEMO + RAVDESS, 3)
    assert [[clip for clip in fold if clip.corpus == "nemo"] for fold in together] == alone
    assert folds_by_speaker(RAVDESS, 4, 1) != folds_by_speaker(RAVDESS, 4, 2)


def test_odd_numbers_of_women_do_not_pile_up() -> None:
    clips = spoken("c", ["w1", "w2", "w3"], ["m1", "m2", "m3"])
    sizes = [len({clip.speaker for clip in fold}) for fold in folds_by_speaker(clips, 2)]
    assert sizes == [3, 3]


def test_texts_fall_into_folds_by_what_they_say() -> None:
    clips = written(["yes", "no", "YES", "maybe"] * 50)
    folds = folds_by_speaker(clips, 3)
    homes = [{(clip.text or "").lower() for clip in fold} for fold in folds]
    assert sum(map(len, homes)) == 3
    assert sum(map(len, folds)) == 200


def test_too_few_speakers_for_the_folds() -> None:
    with pytest.raises(DataError, match="nemo has 6 speakers: too few for 7 folds") as caught:
        folds_by_speaker(RAVDESS + NEMO, 7)
    assert caught.value.code == "split_impossible"
    with pytest.raises(DataError, match="expected at least 2"):
        folds_by_speaker(RAVDESS, 1)


# --- holding out -----------------------------------------------------------------------------------------


def test_a_corpus_held_out_is_the_test_set() -> None:
    clips = hold_out_corpus([*NEMO, *EMODB], "emodb")
    assert {(clip.corpus, clip.split) for clip in clips} == {("nemo", None), ("emodb", "test")}
    with pytest.raises(DataError, match="there are emodb, nemo") as caught:
        hold_out_corpus([*NEMO, *EMODB], "iemocap")
    assert caught.value.code == "split_impossible"


def test_reserved_people_are_never_trained_on() -> None:
    clips = reserve(
        [replace(clip, split="train") for clip in NEMO] + EMODB, {"nemo": ["SM0"], "ravdess": ["15"]}
    )
    assert people(clips, "test") == {("nemo", "SM0")}
    divided = split_by_speaker(clips, {"train": 0.5, "validation": 0.5})
    assert people(divided, "test") == {("nemo", "SM0")}


def test_a_misspelt_reserved_name_is_refused() -> None:
    with pytest.raises(DataError, match=r"nemo has no speaker 'SMO' to reserve: it has IC0, KD0") as caught:
        reserve(NEMO, {"nemo": ["SMO"]})
    assert caught.value.code == "split_impossible"


def test_texts_that_differ_only_by_their_marks_share_a_split():
    """Or the audit would refuse the division that we made ourselves."""
    said = [
        f"they say {word} every single day" for word in ("yes", "no", "so", "well", "oh", "ah", "hm", "eh")
    ]
    clips = [
        Clip(id=f"{n}-{mark}", corpus="x", text=f"{text}{mark}")
        for n, text in enumerate(said * 20)
        for mark in ("", "!", " ...")
    ]
    divided = split_by_speaker(clips, {"train": 0.5, "validation": 0.5})
    split = {(clip.text or "").rstrip("!. "): clip.split for clip in divided}
    assert len(set(split.values())) == 2
    assert all(clip.split == split[(clip.text or "").rstrip("!. ")] for clip in divided)
