"""What each fold holds out, and what it may be trained on."""

import itertools

import pytest

from affetto.data.folds import make_folds
from affetto.errors import DataError
from affetto.records import Clip

CLIPS = [
    Clip(
        f"{speaker}{sentence}",
        text=f"Well, this is  number {sentence}!" if speaker % 2 else f"well this is number {sentence}",
        speaker=f"s{speaker}",
        corpus="c",
        attributes={"session": str(speaker // 2)},
    )
    for speaker, sentence in itertools.product(range(4), range(6))
]


@pytest.mark.parametrize(
    ("by", "number", "count"),
    [
        ("speaker", None, 4),
        ("speaker", 2, 2),
        ("session", None, 2),
        ("sentence", None, 6),
        ("sentence", 3, 3),
    ],
)
def test_every_clip_is_tested_once_and_its_unit_is_new(by, number, count):
    def unit(clip):
        return {"speaker": clip.speaker, "session": clip.attributes["session"], "sentence": clip.id[1:]}[by]

    folds = make_folds(CLIPS, by, number)
    assert len(folds) == count
    assert sorted(clip.id for fold in folds for clip in fold.test) == sorted(clip.id for clip in CLIPS)
    for fold in folds:
        assert not {unit(clip) for clip in fold.test} & {unit(clip) for clip in fold.rest}
        assert len(fold.test) + len(fold.rest) == len(CLIPS)


def test_with_both_neither_has_been_met():
    folds = make_folds(CLIPS, "speaker+sentence", 2)
    assert len(folds) == 4
    assert sorted(clip.id for fold in folds for clip in fold.test) == sorted(clip.id for clip in CLIPS)
    for fold in folds:
        for name in (lambda clip: clip.speaker, lambda clip: clip.id[1:]):
            assert not {name(clip) for clip in fold.test} & {name(clip) for clip in fold.rest}
        assert len(fold.test) == len(fold.rest) == 6


def test_clips_without_the_unit_are_trained_on():
    folds = make_folds([*CLIPS, Clip("x", text="alone")], "speaker", 2)
    assert all("x" in {clip.id for clip in fold.rest} for fold in folds)


@pytest.mark.parametrize(("by", "number"), [("speaker", 5), ("session", 3), ("session", 1)])
def test_too_few_units_are_refused(by, number):
    with pytest.raises(DataError) as caught:
        make_folds(CLIPS, by, number)
    assert caught.value.code == "split_impossible"
