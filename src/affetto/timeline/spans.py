"""From steps to spans: the smoothest story that the steps support, told in stretches of one emotion.

The rule. A silence of `PAUSE` seconds or more becomes a span of its own in which nobody speaks, and what comes
after it has nothing to do with what was before. Within what is said between two of them, each step that is
spoken votes with its log-probabilities; going from one emotion to another costs `SWITCH_COST`; the sequence
with the highest sum is found exactly (Viterbi 1967), and steps of one emotion are merged. A shorter silence
belongs to the span around it, and between two emotions to the first. A span is as sure as the normalised
geometric mean of its steps; where that prefers another emotion, or most steps are unsure, it is unsure.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from affetto.records import Span
from affetto.timeline.steps import LOW_CONFIDENCE, NO_SPEECH, Steps

#: Nats. Windows overlap, so that a step repeats most of what its neighbours said.
SWITCH_COST = 3.0
PAUSE = 1.0  # seconds

_NOBODY = -1


def merge(steps: Steps) -> tuple[Span, ...]:
    """The spans of a finished timeline; together they cover it without gaps."""
    if not len(steps) or not steps.labels:
        return ()
    probabilities = steps.probabilities()
    spoken = ~np.isnan(probabilities[:, 0])
    votes = np.log(np.clip(probabilities, 1e-6, None))
    silent = _silent(spoken, steps.hop)
    story = np.full(len(steps), _NOBODY)
    for first, last in _stretches(~silent):
        story[first:last] = _smoothest(np.nan_to_num(votes[first:last], nan=0.0))
    starts = np.flatnonzero(np.diff(story, prepend=_NOBODY - 1))
    return tuple(
        _span(steps, votes, int(story[first]), int(first), int(last))
        for first, last in pairwise([*starts, len(steps)])
    )


def _stretches(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[K 2]: where each run of True begins and ends."""
    return np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]))).reshape(-1, 2)


def _smoothest(votes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Log-probabilities [S C], 0 where nothing is said -> the best sequence of emotions [S]."""
    best = votes[0]
    came_from = np.zeros(votes.shape, np.int64)
    own = np.arange(votes.shape[1])
    for step in range(1, len(votes)):
        other = int(best.argmax())
        switched = best[other] - SWITCH_COST
        stays = best >= switched
        came_from[step] = np.where(stays, own, other)
        best = np.where(stays, best, switched) + votes[step]
    story = np.empty(len(votes), np.int64)
    story[-1] = int(best.argmax())
    for step in range(len(votes) - 1, 0, -1):
        story[step - 1] = came_from[step, story[step]]
    return story


def _silent(spoken: NDArray[np.bool_], hop: float) -> NDArray[np.bool_]:
    """[S]: steps of silences that last `PAUSE` or longer."""
    silent = ~spoken
    for first, last in _stretches(silent):
        if (last - first) * hop < PAUSE:
            silent[first:last] = False
    return silent


def _span(steps: Steps, votes: NDArray[np.float64], emotion: int, first: int, last: int) -> Span:
    words = tuple(word for step in range(first, last) for word in steps.words.get(step, ()))
    start, end = first * steps.hop, float(steps.ends()[last - 1])
    said = votes[first:last][~np.isnan(votes[first:last, 0])]
    if emotion == _NOBODY or not len(said):
        return Span(start, end, None, 0.0, words, NO_SPEECH)
    powers = np.exp(said.mean(axis=0))
    confidence = float(powers[emotion] / powers.sum())
    unsure = powers.argmax() != emotion or steps.unsure()[first:last].sum() * 2 > len(said)
    return Span(
        start,
        end,
        None if unsure else steps.labels[emotion],
        confidence,
        words,
        LOW_CONFIDENCE if unsure else None,
    )
