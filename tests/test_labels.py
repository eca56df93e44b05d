"""The label contract: seven emotions, what each corpus publishes, and what a typo meets."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affetto import labels
from affetto.errors import DataError

CORPORA = {
    "ravdess": labels.RAVDESS,
    "emodb": labels.EMODB,
    "nemo": labels.NEMO,
    "goemotions": labels.GOEMOTIONS,
    "xed": labels.XED,
    "ferplus": labels.FERPLUS,
}


@pytest.mark.parametrize(
    ("spelling", "emotion"),
    [("Happy", "happiness"), (" joy ", "happiness"), ("ANGRY", "anger"), ("calm", "neutral"),
     ("fear", "fear"), ("sad", "sadness"), ("surprised", "surprise"), ("disgusted", "disgust")],
)  # fmt: skip
def test_everyday_spellings(spelling: str, emotion: str) -> None:
    assert labels.canonical(spelling) == emotion


def test_the_seven_stand_for_themselves() -> None:
    assert tuple(sorted(labels.EMOTIONS)) == labels.EMOTIONS
    assert [labels.canonical(name) for name in labels.EMOTIONS] == list(labels.EMOTIONS)


@pytest.mark.parametrize(
    ("typo", "meant"), [("hapy", "happy"), ("neutrall", "neutral"), ("suprise", "surprise")]
)
def test_a_typo_is_told_the_nearest_spelling(typo: str, meant: str) -> None:
    with pytest.raises(DataError, match=f"did you mean '{meant}'") as caught:
        labels.canonical(typo)
    assert caught.value.code == "label_unknown"


def test_nonsense_is_told_what_is_expected() -> None:
    with pytest.raises(DataError, match="expected one of anger, disgust"):
        labels.to_emotion("xyzzy")


@pytest.mark.parametrize("name", CORPORA)
def test_every_published_label_maps_onto_the_seven_or_to_none(name: str) -> None:
    targets = set(CORPORA[name].values())
    assert targets <= {*labels.EMOTIONS, None}
    assert all(label == label.lower() for label in CORPORA[name])


def test_corpora_agree_wherever_they_share_a_label() -> None:
    for name, label_map in CORPORA.items():
        for label, emotion in label_map.items():
            assert labels.PUBLISHED[label] == emotion, f"{name} maps {label} elsewhere"
            assert labels.ALIASES.get(label, emotion) == emotion, f"{label} is also an everyday spelling"


def test_sizes_of_the_published_label_sets() -> None:
    assert [len(CORPORA[name]) for name in ("ravdess", "emodb", "nemo", "goemotions", "xed")] == [
        8,
        7,
        6,
        28,
        9,
    ]


def test_what_has_no_place() -> None:
    without = {label for label, emotion in labels.PUBLISHED.items() if emotion is None}
    assert without == {"boredom", "anticipation", "trust", "contempt", "unknown", "nf", "not_face"}


def test_a_corpus_map_comes_before_everyday_spellings() -> None:
    assert labels.to_emotion("Joy", {"joy": "surprise"}) == "surprise"
    assert labels.to_emotion("happy", labels.NEMO) == "happiness"
    with pytest.raises(DataError):
        labels.to_emotion("boredom", labels.NEMO)


def test_majority_is_empty_on_a_tie_and_without_a_place() -> None:
    assert labels.majority({"anger": 6, "neutral": 4}) == "anger"
    assert labels.majority({"anger": 5, "neutral": 5}) == ""
    assert labels.majority({"contempt": 6, "anger": 4}) == ""
    assert labels.majority({}) == ""
    assert labels.leading({"anger": 0, "fear": 0}) == ()


def test_votes_without_a_place_do_not_count() -> None:
    shares = labels.votes_to_emotions({"happiness": 3, "sadness": 1, "contempt": 6})
    assert shares == {**dict.fromkeys(labels.EMOTIONS, 0.0), "happiness": 0.75, "sadness": 0.25}
    assert labels.votes_to_emotions({"contempt": 10}) == {}


def test_shares_that_sum_to_one_but_for_rounding_are_left_alone() -> None:
    shares = {name: count / 22 for name, count in zip(labels.EMOTIONS, (0, 0, 1, 3, 6, 6, 6), strict=True)}
    assert math.fsum(shares.values()) != 1
    assert labels.votes_to_emotions(shares) == shares


@given(st.dictionaries(st.sampled_from(sorted(labels.FERPLUS)), st.integers(0, 10)))
def test_votes_sum_to_one_and_mapping_them_again_changes_nothing(votes: dict[str, int]) -> None:
    shares = labels.votes_to_emotions(votes)
    if shares:
        assert sum(shares.values()) == pytest.approx(1)
        assert labels.votes_to_emotions(shares) == shares
    else:
        assert all(labels.FERPLUS[label] is None for label, count in votes.items() if count)
