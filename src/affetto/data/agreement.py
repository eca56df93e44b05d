"""How far annotators agree, over a corpus: ties and low agreement are stated, not averaged away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum

from affetto.labels import agreement
from affetto.records import Clip


@dataclass(frozen=True, slots=True)
class VoteAgreement:
    """Of the clips that carry votes for a task: how many they are, the mean share of the winner and the mean
    entropy in bits; how many have no single winner (`ties`), and in how many the winner has at most half of
    the votes (`low`, ties among them); Fleiss' kappa, None where the number of annotators is not known."""

    clips: int
    share: float
    entropy: float
    ties: int
    low: int
    kappa: float | None


def vote_agreement(clips: Iterable[Clip], task: str = "emotion") -> VoteAgreement | None:
    """The agreement of the annotators of a task; None where no clip carries votes for it.

    Shares stand for as many votes as `attributes["votes"]` says.
    """
    voted = [(clip, votes) for clip in clips if isinstance(votes := clip.labels.get(task), Mapping) and votes]
    if not voted:
        return None
    single = [agreement(votes) for _, votes in voted]
    return VoteAgreement(
        clips=len(voted),
        share=fsum(item.share for item in single) / len(single),
        entropy=fsum(item.entropy for item in single) / len(single),
        ties=sum(len(item.leaders) != 1 for item in single),
        low=sum(item.share <= 0.5 for item in single),
        kappa=fleiss_kappa(_counts(clip, votes) for clip, votes in voted),
    )


def fleiss_kappa(votes: Iterable[Mapping[str, float]]) -> float | None:
    """Agreement beyond chance (Fleiss 1971), 1 when all agree, 0 when they answer at random.

    Items may have different numbers of votes, as in Fleiss, Levin & Paik 2003: every item weighs the same in
    the agreement, every vote in the chance. Items with fewer than two votes say nothing and are left out; None
    when none is left, or when everybody always gave the same answer.
    """
    items = [item for item in votes if fsum(item.values()) >= 2]
    if not items:
        return None
    totals: dict[str, float] = {}
    observed = 0.0
    for item in items:
        count = fsum(item.values())
        observed += fsum(given * (given - 1) for given in item.values()) / (count * (count - 1)) / len(items)
        for label, given in item.items():
            totals[label] = totals.get(label, 0.0) + given
    everything = fsum(totals.values())
    chance = fsum((total / everything) ** 2 for total in totals.values())
    return None if chance == 1 else (observed - chance) / (1 - chance)


def _counts(clip: Clip, votes: Mapping[str, float]) -> dict[str, float]:
    """How many votes each label got: whole numbers, also where shares are all that was kept."""
    total = fsum(votes.values())
    try:
        number = float(clip.attributes.get("votes", total))
    except ValueError:
        number = total
    return {label: float(round(count / total * number)) for label, count in votes.items()} if total else {}
