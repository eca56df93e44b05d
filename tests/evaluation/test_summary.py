"""The figures of a report against the functions they come from, and examples made by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from affetto.errors import DataError
from affetto.evaluation.answers import Answer, from_lines, to_lines
from affetto.evaluation.calibration import accuracy_at_coverage, aurc, threshold_for_risk
from affetto.evaluation.comparison import difference
from affetto.evaluation.metrics import uar
from affetto.evaluation.summary import mistakes, summarise

LABELS = ("anger", "sadness")


def answer(name, truth, anger, trial="all", inputs=("speech", "text"), **more):
    return Answer(name, truth, trial, inputs, probabilities={"anger": anger, "sadness": 1 - anger}, **more)


def made(n=120, seed=0):
    """Clips of speech and text by six speakers, whose speech alone says less, and with noise less still."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        truth, facts = LABELS[i % 2], {"speaker": f"s{i % 6}", "gender": ("female", "male")[i % 3 == 0]}
        trials = [(2.0, "all", ("speech", "text"), None), (1.5, "subset", ("text",), None)]
        trials += [(1.0, "subset", ("speech",), None), (0.8, "noise", ("speech",), 20.0)]
        for strength, trial, inputs, snr in [*trials, (0.0, "noise", ("speech",), 0.0)]:
            logit = rng.normal(strength * (1 if truth == "anger" else -1), 1.5)
            found.append(answer(f"c{i}", truth, 1 / (1 + np.exp(-logit)), trial, inputs, snr=snr, **facts))
    return found


@pytest.fixture(scope="module")
def answers():
    return made()


@pytest.fixture(scope="module")
def found(answers):
    return summarise(answers, n_boot=60, seed=3)


def of(answers, trial, inputs=None, snr=None):
    kept = [a for a in answers if a.trial == trial and a.snr == snr and inputs in (None, a.inputs)]
    return (
        np.array([LABELS.index(a.truth) for a in kept]),
        np.array([LABELS.index(a.said) for a in kept]),
        np.array([a.confidence for a in kept]),
    )


def test_what_is_stored_is_what_is_read(answers):
    assert from_lines(to_lines(answers)) == answers
    odd = Answer("a\u2028\n", "anger", "all", (), error="media_not_found", text="„x“ <b>")
    assert from_lines(to_lines([odd])) == [odd]


@pytest.mark.parametrize(
    "line",
    ["no json", "[]", '{"id": "a"}', '{"id": "a", "truth": "x", "trial": "all", "inputs": []}',
     '{"id": "a", "truth": "x", "trial": "all", "inputs": [], "probabilities": {"x": NaN}}',
     '{"id": "a", "truth": "x", "trial": "all", "inputs": [], "probabilities": {"x": 1}, "more": 1}'],
)  # fmt: skip
def test_what_was_not_stored_by_us_is_refused(line):
    with pytest.raises(DataError, match="line 2") as error:
        from_lines(to_lines(made(1)[:1]) + line)
    assert error.value.code == "predictions_invalid"


def test_whole_clips_make_the_figures(answers, found):
    true, said, confidence = of(answers, "all")
    assert found["n"] == 120
    assert found["people"] == 6
    assert found["uar"] == uar(true, said)
    assert found["selective"]["aurc"] == aurc(confidence, true == said)
    assert found["selective"]["accuracy"] == accuracy_at_coverage(confidence, true == said, 0.8)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_points_of_the_reliability_diagram_give_the_calibration_error(found):
    bins = found["reliability"]
    gaps = np.abs(np.subtract(bins["accuracy"], bins["confidence"]))
    assert sum(bins["n"]) == 120
    assert float(np.average(gaps, weights=bins["n"])) == pytest.approx(found["ece"])


def test_thresholds_keep_what_they_say(answers, found):
    true, said, confidence = of(answers, "all")
    for row in found["risks"]:
        threshold = threshold_for_risk(confidence, true == said, row["target"])
        assert row["threshold"] == (None if np.isinf(threshold) else threshold)
        if row["threshold"] is not None:
            kept = confidence >= threshold
            assert row["coverage"] == kept.mean()
            assert row["risk"] == pytest.approx(np.mean(true[kept] != said[kept]))
            assert row["risk"] <= row["target"]
    assert found["risks"][0]["threshold"] is None  # 120 clips cannot prove one error in twenty
    assert found["risks"][-1]["threshold"] is not None


def test_a_subset_is_compared_with_the_same_clips_whole(answers, found):
    rows = {tuple(row["inputs"]): row for row in found["ablation"]}
    assert list(rows) == [("speech", "text"), ("speech",), ("text",)]
    assert rows["speech", "text"]["less"] is None
    true, speech, _ = of(answers, "subset", ("speech",))
    _, whole, _ = of(answers, "all")
    people = [f"s{i % 6}" for i in range(120)]
    expected = difference("uar", true, speech[None], whole[None], groups=people, n=60, seed=3)
    less = rows["speech",]["less"]
    assert rows["speech",]["uar"] == pytest.approx(uar(true, speech))
    assert (less["uar"], less["low"], less["high"], less["p"]) == pytest.approx(
        (expected.mean, expected.low, expected.high, expected.p)
    )


def test_noise_is_told_from_clean_speech_on(answers, found):
    assert [row["snr"] for row in found["noise"]] == [None, 20.0, 0.0]
    true, clean, _ = of(answers, "subset", ("speech",))
    _, noisy, _ = of(answers, "noise", snr=0.0)
    assert found["noise"][0]["uar"] == pytest.approx(uar(true, clean))
    assert found["noise"][2]["uar"] == pytest.approx(uar(true, noisy))
    assert found["noise"][2]["less"]["uar"] == pytest.approx(uar(true, noisy) - uar(true, clean))


def test_a_clip_that_lacks_a_level_of_noise_is_in_none():
    answers = made(20)
    without = [a for a in answers if not (a.id == "c3" and a.snr == 0.0)]
    assert {row["n"] for row in summarise(without, n_boot=2)["noise"]} == {19}


def test_the_gap_of_a_group_is_to_all_others(answers, found):
    true, said, _ = of(answers, "all")
    men = np.arange(120) % 3 == 0
    male = found["groups"]["gender"]["male"]
    assert male["gap"] == pytest.approx(uar(true[men], said[men]) - uar(true[~men], said[~men]))
    assert male["gap"] == pytest.approx(-found["groups"]["gender"]["female"]["gap"])
    assert male["low"] <= male["uar"] <= male["high"]
    one = summarise([replace(a, gender="female") for a in answers], n_boot=2)
    assert one["groups"]["gender"]["female"]["gap"] is None


def test_the_worst_mistakes_are_the_most_confident():
    answers = [answer(f"c{i}", "sadness", 0.5 + i / 40) for i in range(1, 16)]
    answers += [answer("right", "anger", 0.99), answer("part", "sadness", 0.99, "subset", ("text",))]
    assert [a.id for a in mistakes(answers)] == [f"c{i}" for i in range(15, 5, -1)]
    assert summarise(answers, n_boot=2)["mistakes"] == [f"c{i}" for i in range(15, 5, -1)]


def test_another_run_is_compared_on_the_clips_of_both(answers):
    worse = [replace(a, probabilities={"anger": 0.9, "sadness": 0.1}) for a in answers if a.id != "c0"]
    against = summarise(answers, against=worse, n_boot=60)["against"]
    true, said, _ = of(answers, "all")
    assert against["n"] == 119
    assert against["uar"] == pytest.approx(uar(true[1:], said[1:]) - 0.5)
    assert against["p"] == pytest.approx(2 / 61)
    assert summarise(answers, n_boot=2)["against"] is None


def test_what_failed_is_counted_and_not_scored():
    gone = Answer("gone", "anger", "all", ("speech",), error="media_not_found")
    found = summarise([*made(10), gone], n_boot=2)
    assert (found["n"], found["failed"]) == (10, 1)
    with pytest.raises(DataError) as error:
        summarise([gone])
    assert error.value.code == "nothing_to_predict"
