"""Agreement of annotators: Fleiss' own example, known ends of the scale, and a corpus of clips."""

from __future__ import annotations

import pytest

from affetto.data.agreement import VoteAgreement, fleiss_kappa, vote_agreement
from affetto.records import Clip

# Ten items, fourteen raters, five classes: the worked example under "Fleiss' kappa" in Wikipedia, 0.210.
EXAMPLE = [
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip


def votes(*counts: float) -> dict[str, float]:
    return dict(zip("abcde", counts, strict=False))


def test_kappa_of_a_published_example() -> None:
    assert fleiss_kappa(votes(*row) for row in EXAMPLE) == pytest.approx(0.210, abs=5e-4)


def test_kappa_at_the_ends_of_its_scale() -> None:
    assert fleiss_kappa([votes(3, 0), votes(0, 5)]) == pytest.approx(1.0)
    # Two raters who always differ: less than chance.
    assert fleiss_kappa([votes(1, 1), votes(1, 1)]) == pytest.approx(-1.0)
    assert fleiss_kappa([votes(1), votes(0, 1)]) is None  # one rater agrees with nobody
    assert fleiss_kappa([votes(4), votes(3)]) is None  # one class only: chance explains all
    assert fleiss_kappa([]) is None


def test_items_with_different_numbers_of_raters() -> None:
    # Agreeing pairs: 1 of 3 and 6 of 6; classes: 6 and 1 of 7 votes.
    observed, chance = (1 / 3 + 1) / 2, (6 / 7) ** 2 + (1 / 7) ** 2
    assert fleiss_kappa([votes(2, 1), votes(4, 0)]) == pytest.approx((observed - chance) / (1 - chance))


def test_agreement_over_clips() -> None:
    clips = [
        Clip("1", labels={"emotion": {"anger": 0.75, "fear": 0.25}}, attributes={"votes": "4"}),
        Clip("2", labels={"emotion": {"anger": 0.5, "fear": 0.5}}, attributes={"votes": "4"}),
        Clip("3", labels={"emotion": "anger"}),
        Clip("4", labels={"emotion": {}}),
    ]
    found = vote_agreement(clips)
    assert found is not None
    kappa = fleiss_kappa([{"anger": 3, "fear": 1}, {"anger": 2, "fear": 2}])
    assert found == VoteAgreement(
        clips=2,
        share=0.625,
        entropy=pytest.approx((0.811278 + 1) / 2, abs=1e-6),
        ties=1,
        low=1,
        kappa=kappa,
    )


def test_shares_without_a_number_of_votes_have_no_kappa() -> None:
    clips = [Clip("1", labels={"emotion": {"anger": 0.6, "fear": 0.4}})]
    found = vote_agreement(clips)
    assert found is not None
    assert (found.share, found.kappa) == (0.6, None)


def test_another_task_and_none() -> None:
    clips = [Clip("1", labels={"iemocap": {"anger": 2.0, "frustration": 1.0}})]
    assert vote_agreement(clips) is None
    found = vote_agreement(clips, task="iemocap")
    assert found is not None
    assert found.share == pytest.approx(2 / 3)
