"""The label contract: seven emotions, what each corpus publishes, and what a typo meets."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affetto import labels
from affetto.errors import DataError

CORPORA = labels.LABEL_SETS


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
    assert without == {
        "boredom", "anticipation", "trust", "contempt", "unknown", "nf", "not_face",
        "frustration", "other", "no agreement", "none", "uncertain", "no face", "peaceful", "powerful",
    }  # fmt: skip


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


# --- from one label set to another -----------------------------------------------------------------------


def test_the_way_back_says_whether_a_mapping_can_be_undone() -> None:
    assert labels.labels_for("happiness", labels.EMODB) == ("happy",)
    assert labels.labels_for("neutral", labels.RAVDESS) == ("neutral", "calm")
    assert labels.labels_for("disgust", labels.NEMO) == ()


@pytest.mark.parametrize("name", CORPORA)
def test_every_label_is_among_those_of_its_own_emotion(name: str) -> None:
    for label, emotion in CORPORA[name].items():
        back = labels.translate(label, CORPORA[name], CORPORA[name])
        assert (label in back) is (emotion is not None)


@pytest.mark.parametrize(
    ("label", "source", "target", "found"),
    [
        ("joy", "xed", "emodb", ("happy",)),
        ("excited", "iemocap", "iemocap", ("happiness", "excited")),
        ("pleasant surprise", "tess", "nemo", ("surprised",)),
        ("boredom", "emodb", "iemocap", ()),
        ("disgust", "emodb", "nemo", ()),
    ],
)
def test_a_label_in_the_words_of_another_corpus(
    label: str, source: str, target: str, found: tuple[str, ...]
) -> None:
    assert labels.translate(label, CORPORA[source], CORPORA[target]) == found
    with pytest.raises(DataError, match="unknown emotion"):
        labels.translate("xyzzy", CORPORA[source], CORPORA[target])


# --- agreement -------------------------------------------------------------------------------------------


def test_agreement_of_one_clip() -> None:
    assert labels.agreement({"anger": 7, "fear": 0}) == labels.Agreement(("anger",), 1.0, 0.0)
    assert labels.agreement({"anger": 2, "fear": 2}) == labels.Agreement(("anger", "fear"), 0.5, 1.0)
    assert labels.agreement({"anger": 0}) == labels.agreement({}) == labels.Agreement((), 0.0, 0.0)
    # 1/2, 1/4, 1/4: one bit and a half.
    assert labels.agreement({"anger": 4, "fear": 2, "sadness": 2}) == labels.Agreement(("anger",), 0.5, 1.5)


def test_counts_and_shares_agree_alike() -> None:
    counts = labels.agreement({"anger": 6, "fear": 3, "sadness": 1})
    shares = labels.agreement({"anger": 0.6, "fear": 0.3, "sadness": 0.1})
    assert counts.leaders == shares.leaders
    assert (counts.share, counts.entropy) == pytest.approx((shares.share, shares.entropy))


def test_votes_with_a_place_are_what_shares_are_of() -> None:
    votes = {"happiness": 3, "sadness": 1, "contempt": 6}
    assert labels.votes_with_place(votes) == 4
    shares = labels.votes_to_emotions(votes)
    assert shares["happiness"] * labels.votes_with_place(votes) == 3


# --- valence, arousal, dominance -------------------------------------------------------------------------


def test_each_of_the_seven_has_its_place_and_is_found_there() -> None:
    assert set(labels.AFFECT) == set(labels.EMOTIONS)
    for name in labels.EMOTIONS:
        assert labels.to_dimensions({name: 1.0}) == labels.AFFECT[name]
        assert labels.nearest_emotion(*labels.AFFECT[name]) == name
    assert all(-1 <= value <= 1 for place in labels.AFFECT.values() for value in place)


def test_a_mixture_lies_between() -> None:
    # Half anger (-0.51, 0.59, 0.25), half sadness (-0.63, -0.27, -0.33); shares need not sum to 1.
    expected = pytest.approx((-0.57, 0.16, -0.04))
    assert labels.to_dimensions({"anger": 0.5, "sadness": 0.5}) == expected
    assert labels.to_dimensions({"anger": 3, "sadness": 3}) == expected


def test_dominance_tells_anger_from_fear() -> None:
    assert labels.nearest_emotion(-0.6, 0.6, 0.3) == "anger"
    assert labels.nearest_emotion(-0.6, 0.6, -0.4) == "fear"
    assert labels.nearest_emotion(-0.62, 0.6) == "fear"  # in the plane: 0.02 from fear, 0.11 from anger
    assert labels.nearest_emotion(0.9, 0.4) == "happiness"


@given(st.tuples(*[st.floats(-1, 1)] * 3))
def test_no_emotion_lies_nearer_than_the_nearest(point: tuple[float, float, float]) -> None:
    found = labels.nearest_emotion(*point)
    squares = {
        name: sum((a - b) ** 2 for a, b in zip(point, place, strict=True))
        for name, place in labels.AFFECT.items()
    }
    assert squares[found] <= min(squares.values()) + 1e-12


@pytest.mark.parametrize("shares", [{}, {"anger": 0.0}, {"anger": 1.0, "boredom": 1.0}])
def test_what_has_no_dimensions(shares: dict[str, float]) -> None:
    with pytest.raises(DataError, match="expected shares of anger") as caught:
        labels.to_dimensions(shares)
    assert caught.value.code == "label_unknown"


def test_published_scales_and_the_unit_scale() -> None:
    assert [labels.to_unit_scale(value, 1, 5) for value in (1, 2, 3, 5)] == [-1.0, -0.5, 0.0, 1.0]
    assert [labels.to_unit_scale(value, 1, 7) for value in (1, 4, 7)] == [-1.0, 0.0, 1.0]
    for value, (low, high) in product((-1.0, -0.3, 0.8), ((1, 5), (1, 7), (0, 100))):
        rating = labels.from_unit_scale(value, low, high)
        assert labels.to_unit_scale(rating, low, high) == pytest.approx(value)
