"""The table of made-up answers against numpy, and its files against the table."""

import csv
import io
import json

import numpy as np
import pytest
from rich.console import Console

from affetto.evaluation.metrics import macro_f1, uar
from affetto.learn.compare import runs
from affetto.learn.compare.grid import Variant
from affetto.learn.compare.report import render, write_report
from affetto.learn.compare.runs import SILENT, Comparison, Result
from affetto.learn.compare.table import make_table, missing

RNG = np.random.default_rng(3)
TRUTH = RNG.integers(0, 2, 40)
PEOPLE = tuple(f"p{i // 4}" for i in range(40))
TESTED = runs.Tested(
    "sentiment", ("negative", "positive"), tuple(map(str, range(40))), tuple(TRUTH.tolist()), PEOPLE
)
SUBSETS = {"text": 0.7, "speech": 0.55}


def said(right):
    return np.where(RNG.random(40) < right, TRUTH, 1 - TRUTH).tolist()


@pytest.fixture(scope="module")
def comparison(config):
    results, models = [], {"concat": None, "speech alone": "speech", "text alone": "text"}
    for seed in range(3):
        for name, alone in models.items():
            answers = {"speech+text": said(0.9), "speech": said(0.55), "text": said(0.7)}
            if alone is not None:
                answers = {alone: said(SUBSETS[alone])}
            results.append(Result(f"{name}{seed}", name, alone, seed, answers, 100 + seed, 1.0 + seed, 2.0))
    return Comparison(
        tuple(Variant(name, config, alone) for name, alone in models.items()), tuple(results), TESTED
    )


def right(comparison, name, subset):
    return np.array([r.answers[subset] for r in comparison.results if r.variant == name]) == TRUTH


def test_rows_are_what_numpy_says(comparison):
    table = make_table(comparison)
    row = table.rows[0]
    values = right(comparison, "concat", "speech+text").mean(axis=1)
    score = row.whole["accuracy"]
    assert (score.mean, score.deviation) == pytest.approx((values.mean(), values.std(ddof=1)))
    rng, draws, gaps = np.random.default_rng(0), [], []
    ours, theirs = right(comparison, "concat", "speech+text"), right(comparison, "text alone", "text")
    for _ in range(1000):
        rows = np.concatenate([np.arange(4 * p, 4 * p + 4) for p in rng.integers(10, size=10)])
        draws.append(ours[:, rows].mean())
        gaps.append(ours[:, rows].mean() - theirs[:, rows].mean())
    assert (score.low, score.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))
    assert table.reference == "text alone"
    assert row.better.mean == pytest.approx(ours.mean() - theirs.mean())
    assert (row.better.low, row.better.high) == pytest.approx(tuple(np.quantile(gaps, [0.025, 0.975])))
    tail = min(np.sum(np.array(gaps) <= 0), np.sum(np.array(gaps) >= 0))
    assert row.better.p == pytest.approx(2 * (tail + 1) / 1001)
    assert (row.parameters, row.step_ms, row.seeds) == (100, 2.0, 3)


def test_other_metrics_and_subsets(comparison):
    row = make_table(comparison, "uar").rows[0]
    answers = [r.answers["speech"] for r in comparison.results if r.variant == "concat"]
    assert row.scores["speech"]["uar"].mean == pytest.approx(np.mean([uar(TRUTH, a) for a in answers]))
    assert row.scores["speech"]["macro_f1"].mean == pytest.approx(
        np.mean([macro_f1(TRUTH, a) for a in answers])
    )


def test_the_reference_itself_has_no_difference(comparison):
    table = make_table(comparison)
    assert [row.better is None for row in table.rows] == [False, False, True]
    assert table.rows[1].better.mean < 0


def test_what_is_missing_is_named(comparison):
    assert missing(make_table(comparison)) == [("text", "speech"), ("speech", "text")]


def test_clips_that_a_subset_says_nothing_of_do_not_count(config):
    answers = {"text": [*TRUTH[:20].tolist(), *[SILENT] * 20]}
    result = Result("k", "m", None, 0, answers, 1, 1.0, 1.0)
    table = make_table(Comparison((Variant("m", config),), (result,), TESTED))
    assert table.rows[0].whole["accuracy"].mean == 1.0
    assert (table.reference, table.rows[0].better) == (None, None)


def test_all_files_tell_the_same(comparison, tmp_path):
    table = make_table(comparison)
    files = write_report(table, tmp_path)
    assert [path.name for path in files] == ["table.md", "table.csv", "table.json", "table.png"]
    stored = json.loads((tmp_path / "table.json").read_text())
    score = table.rows[0].whole["accuracy"]
    assert stored["rows"][0]["scores"]["speech+text"]["accuracy"]["mean"] == score.mean
    with open(tmp_path / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (3 + 1 + 1) * 3
    assert float(rows[0]["difference_p"]) == table.rows[0].better.p
    assert (rows[0]["model"], rows[0]["modalities"], rows[0]["metric"]) == (
        "concat",
        "speech+text",
        "accuracy",
    )
    markdown = (tmp_path / "table.md").read_text()
    assert f"| concat | {score.mean:.3f} +- {score.deviation:.3f} |" in markdown
    assert "paired bootstrap over speakers" in markdown
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")


def test_the_terminal_shows_every_model_in_80_columns(comparison):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render(make_table(comparison)))
    text = console.export_text()
    assert text.count("concat") == 4  # scores, costs, accuracy and UAR of subsets
    assert "40 test clips of 10 speakers, 3 seeds" in text
