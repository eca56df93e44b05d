"""Spans: the best sequence among all, silences of their own, unsure where most of it is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from affetto.records import Verdict
from affetto.timeline.spans import PAUSE, SWITCH_COST, _smoothest, merge
from affetto.timeline.steps import LOW_CONFIDENCE, NO_SPEECH, Steps

LABELS = ("anger", "neutral", "sadness")


def steps_of(rows: list[list[float] | None], unsure: tuple[int, ...] = (), hop: float = 0.5) -> Steps:
    """A timeline with these probabilities; None is silence."""
    steps = Steps(LABELS, ("speech",), hop)
    for number, row in enumerate(rows):
        end = (number + 1) * hop
        if row is None:
            steps.add(end, 0.0, NO_SPEECH, {}, {})
        else:
            said = dict(zip(LABELS, row, strict=True))
            reason = LOW_CONFIDENCE if number in unsure else None
            steps.add(end, 1.0, reason, said, {"speech": Verdict(max(said, key=said.get), said, 0.5)})
    return steps


A, N, S = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]


@pytest.mark.parametrize("seed", range(20))
def test_no_sequence_of_emotions_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    votes = np.log(np.clip(rng.dirichlet([0.5, 0.5, 0.5], 7), 1e-6, None))

    def score(story: tuple[int, ...]) -> float:
        changes = sum(a != b for a, b in itertools.pairwise(story))
        return sum(votes[k, e] for k, e in enumerate(story)) - SWITCH_COST * changes

    best = max(map(score, itertools.product(range(3), repeat=7)))
    assert score(tuple(_smoothest(votes))) == pytest.approx(best)


def test_one_odd_step_makes_no_span() -> None:
    (span,) = merge(steps_of([A, A, N, A, A]))
    assert (span.start, span.end, span.emotion) == (0.0, 2.5, "anger")
    means = np.exp((4 * np.log(A) + np.log(N)) / 5)
    assert span.confidence == pytest.approx(means[0] / means.sum())


def test_a_change_that_lasts_is_told() -> None:
    spans = merge(steps_of([A] * 4 + [S] * 4))
    assert [(s.start, s.end, s.emotion) for s in spans] == [(0.0, 2.0, "anger"), (2.0, 4.0, "sadness")]


def test_silence_is_a_span_when_it_lasts() -> None:
    brief = int(PAUSE / 0.5) - 1
    (joined,) = merge(steps_of([A, A, *[None] * brief, A, A]))
    assert joined.emotion == "anger"
    assert joined.confidence == pytest.approx(0.8)
    spans = merge(steps_of([None, None, A, A, None, None, A]))
    assert [(s.emotion, s.reason) for s in spans] == [
        (None, NO_SPEECH),
        ("anger", None),
        (None, NO_SPEECH),
        ("anger", None),
    ]
    assert spans[0].confidence == 0.0
    (nobody,) = merge(steps_of([None, None, None]))
    assert (nobody.start, nobody.end, nobody.reason) == (0.0, 1.5, NO_SPEECH)


def test_what_comes_after_a_silence_is_judged_afresh() -> None:
    doubtful = [0.35, 0.2, 0.45]
    spans = merge(steps_of([A, A, A, None, None, doubtful]))
    assert [s.emotion for s in spans] == ["anger", None, "sadness"]
    assert merge(steps_of([A, A, A, None, doubtful]))[0].end == 2.5


def test_a_span_is_unsure_where_most_of_it_is() -> None:
    rows = [A] * 4
    assert merge(steps_of(rows, unsure=(0, 1)))[0].emotion == "anger"
    (span,) = merge(steps_of(rows, unsure=(0, 1, 2)))
    assert (span.emotion, span.reason) == (None, LOW_CONFIDENCE)
    assert span.confidence == pytest.approx(0.8)


def test_words_belong_to_the_span_of_their_step() -> None:
    steps = steps_of([A] * 4 + [S] * 4)
    steps.words = {0: ("no",), 3: ("not", "me"), 4: ("oh",)}
    assert [span.words for span in merge(steps)] == [("no", "not", "me"), ("oh",)]


def test_an_empty_timeline_has_no_spans() -> None:
    assert merge(steps_of([])) == ()


def test_spans_cover_the_recording() -> None:
    rng = np.random.default_rng(3)
    rows = [None if rng.random() < 0.3 else rng.dirichlet([0.3] * 3).tolist() for _ in range(300)]
    spans = merge(steps_of(rows))
    assert spans[0].start == 0.0
    assert spans[-1].end == 150.0
    assert all(a.end == b.start for a, b in itertools.pairwise(spans))


# --- steps ---


def test_steps_are_a_sequence_of_segments() -> None:
    steps = steps_of([A, None, S], unsure=(2,))
    first, silent, last = steps
    assert len(steps) == 3
    assert steps[-1] == last == steps[2]
    assert steps[:2] == (first, silent)
    assert (first.start, first.end, first.emotion, first.reason) == (0.0, 0.5, "anger", None)
    assert first.modalities["speech"].weight == 0.5
    assert list(first.probabilities.values()) == A
    assert (silent.emotion, silent.reason, silent.probabilities, silent.speech) == (None, NO_SPEECH, {}, 0.0)
    assert (last.emotion, last.reason) == (None, LOW_CONFIDENCE)
    assert steps == (first, silent, last)
    assert steps != (first, silent)
    with pytest.raises(IndexError):
        steps[3]
