"""The report: every number against the function it comes from, its shape, and how it reads."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from affetto.errors import DataError
from affetto.evaluation.calibration import ece
from affetto.evaluation.metrics import accuracy, bootstrap, confusion, macro_f1, uar, weighted_f1
from affetto.evaluation.report import evaluation_report, render
from affetto.labels import EMOTIONS

N = 420


def made(n=N, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 7, n)
    logits = rng.standard_normal((n, 7))
    logits[np.arange(n), truth] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    people = {
        "speakers": [f"{i % 6:02d}" for i in range(n)],
        "genders": [("female", "male", None)[i % 3] for i in range(n)],
        "languages": ["en"] * n,
        "corpora": [("ravdess", "emodb")[i % 2] for i in range(n)],
    }
    return truth, probabilities, people


@pytest.fixture(scope="module")
def report():
    truth, probabilities, people = made()
    names = [EMOTIONS[i] for i in truth]
    return evaluation_report(
        names, probabilities, EMOTIONS, **people, abstained=np.arange(N) % 4 == 0, n_boot=40, seed=5
    )


def test_it_has_the_documented_shape(report):
    assert list(report) == [
        "n", "uar", "wa", "macro_f1", "weighted_f1", "ece",
        "coverage", "intervals", "confusion", "labels", "groups",
    ]  # fmt: skip
    assert list(report["groups"]) == ["speaker", "gender", "language", "corpus"]
    assert set(report["intervals"]) == {"uar", "wa", "macro_f1", "weighted_f1", "ece"}
    again = json.loads(json.dumps(report, allow_nan=False))
    assert again == report


def test_the_numbers_are_those_of_the_metrics(report):
    truth, probabilities, _ = made()
    said = probabilities.argmax(axis=1)
    assert report["n"] == N
    assert report["uar"] == uar(truth, said)
    assert report["wa"] == accuracy(truth, said)
    assert report["macro_f1"] == macro_f1(truth, said)
    assert report["weighted_f1"] == weighted_f1(truth, said)
    assert report["ece"] == pytest.approx(ece(probabilities, truth))
    assert report["coverage"] == 0.75
    assert report["confusion"] == confusion(truth, said, 7).tolist()
    assert report["labels"] == list(EMOTIONS)


def test_intervals_draw_people_not_clips(report):
    truth, probabilities, people = made()
    names = [f"{c}/{s}" for c, s in zip(people["corpora"], people["speakers"], strict=True)]
    said = probabilities.argmax(axis=1)
    assert report["intervals"]["uar"] == list(bootstrap(uar, truth, said, groups=names, n=40, seed=5))
    assert report["intervals"]["uar"][0] < report["uar"] < report["intervals"]["uar"][1]


def test_groups_are_scored_alone(report):
    truth, probabilities, people = made()
    said = probabilities.argmax(axis=1)
    women = np.array(people["genders"]) == "female"
    assert report["groups"]["gender"]["female"] == {
        "n": N // 3,
        "uar": uar(truth[women], said[women]),
        "wa": accuracy(truth[women], said[women]),
    }
    assert set(report["groups"]["gender"]) == {"female", "male"}
    assert set(report["groups"]["corpus"]) == {"ravdess", "emodb"}
    for groups in (report["groups"]["speaker"], report["groups"]["corpus"], report["groups"]["language"]):
        assert sum(group["n"] for group in groups.values()) == N


def test_speakers_of_two_corpora_are_two_people():
    truth, probabilities = [0, 0, 1, 1], np.eye(2)[[0, 0, 1, 0]]
    both = evaluation_report(
        truth, probabilities, ("a", "b"), speakers=["1"] * 4, corpora=["x", "x", "y", "y"], n_boot=2
    )
    assert set(both["groups"]["speaker"]) == {"x/1", "y/1"}
    one = evaluation_report(truth, probabilities, ("a", "b"), speakers=["1"] * 4, corpora=["x"] * 4, n_boot=2)
    assert set(one["groups"]["speaker"]) == {"1"}


def test_names_and_indices_mean_the_same():
    truth, probabilities, _ = made(50)
    by_index = evaluation_report(truth, probabilities, EMOTIONS, n_boot=5)
    by_name = evaluation_report([EMOTIONS[i] for i in truth], probabilities, EMOTIONS, n_boot=5)
    assert by_index == by_name
    assert by_index["coverage"] == 1.0
    assert by_index["groups"] == {"speaker": {}, "gender": {}, "language": {}, "corpus": {}}


def test_one_clip_is_enough():
    report = evaluation_report(["b"], [[0.1, 0.9]], ("a", "b"), n_boot=3)
    assert report["uar"] == 1.0
    json.dumps(report, allow_nan=False)


def test_what_cannot_be_evaluated_is_said():
    with pytest.raises(DataError) as error:
        evaluation_report([], np.zeros((0, 2)), ("a", "b"))
    assert error.value.code == "nothing_to_predict"
    with pytest.raises(DataError, match="'boredom'") as error:
        evaluation_report(["boredom"], [[0.5, 0.5]], ("a", "b"))
    assert error.value.code == "label_unknown"
    with pytest.raises(ValueError, match="2 values of gender for 1 clips"):
        evaluation_report(["a"], [[0.5, 0.5]], ("a", "b"), genders=["male", "male"])


def written(report, width, **options):
    stream = io.StringIO()
    Console(file=stream, width=width, **options).print(render(report))
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 120])
@pytest.mark.parametrize("colour", [False, True])
def test_it_reads_well(report, width, colour):
    text = written(report, width, force_terminal=colour, no_color=not colour)
    plain = written(report, width)
    assert all(len(line) <= width for line in plain.splitlines())
    assert "…" not in plain
    assert "..." not in plain
    for word in (
        "Unweighted accuracy (UAR)",
        "95 % interval",
        "happ",
        "surprise",
        "Gender",
        "emodb",
        "420 clips",
    ):
        assert word in plain
    assert f"{report['uar']:.3f}" in plain
    assert ("\x1b[" in text) == colour


def test_shares_are_of_the_true_class():
    truth = [0] * 4 + [1]
    probabilities = np.eye(2)[[0, 0, 0, 1, 1]]
    lines = written(evaluation_report(truth, probabilities, ("yes", "no"), n_boot=2), 60).splitlines()
    row = next(line for line in lines if line.strip().startswith("yes"))
    assert row.split() == ["yes", "75", "25", "4"]
    row = next(line for line in lines if line.strip().startswith("no"))
    assert row.split() == ["no", ".", "100", "1"]


def test_only_the_worst_of_many_speakers_are_listed():
    n = 40
    truth, said = np.zeros(n, int), np.zeros(n, int)
    said[37] = 1
    people = [f"speaker {i:02d}" for i in range(n)]
    report = evaluation_report(truth, np.eye(2)[said], ("a", "b"), speakers=people, n_boot=2)
    text = written(report, 80)
    assert "speaker 37" in text
    assert text.count("speaker ") == 12
    assert "and 28 better ones" in text
    assert len(report["groups"]["speaker"]) == n


def test_names_cannot_steer_the_terminal():
    report = evaluation_report(
        ["[bold]x[/bold]"], [[1.0]], ("[bold]x[/bold]",), speakers=["\x1b[31mred\x07"], n_boot=2
    )
    text = written(report, 80)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "?[31mred?" in text
    assert "[bold]x[/bold]" in text


def test_labels_that_begin_alike_are_told_apart():
    labels = ("positive", "positively", "negative")
    report = evaluation_report([0, 1, 2], np.eye(3), labels, n_boot=2)
    header = next(line for line in written(report, 80).splitlines() if line.strip().startswith("True"))
    assert len(set(header.split())) == 5


def test_a_terminal_without_unicode_gets_ascii(report):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=stream, width=80).print(render(report))
    stream.flush()
    assert b"UAR" in stream.buffer.getvalue()
