"""Cross-validation: every clip once, tested by who has not met its people, and a choice that saw no test clip."""

from dataclasses import replace
from pathlib import Path

import pytest

from affetto.errors import ConfigError
from affetto.learn.compare import folds, runs
from affetto.learn.compare.folds import CHOSEN, Folds, compare_folds, parse_folds, pooled
from affetto.learn.compare.grid import Variant, variants
from affetto.learn.compare.report import render, write_report
from affetto.learn.compare.runs import Comparison, Result, Tested
from affetto.learn.compare.table import make_table
from affetto.learn.training.corpora import split_clips


@pytest.fixture
def unsplit(config, tmp_path):
    """The corpus without its official splits, text alone."""
    (corpus,) = config.data.corpora
    source = Path(corpus.path)
    text = source.read_text().replace("features.npz", str(source.with_name("features.npz")))
    path = tmp_path / "corpus.csv"
    path.write_text("\n".join(line.rpartition(",")[0] for line in text.splitlines()))
    return replace(
        config, data=replace(config.data, corpora=(replace(corpus, path=str(path)),), validation=0.25)
    )


def test_every_clip_is_tested_by_models_that_never_met_its_speaker(unsplit, tmp_path, monkeypatch):
    trained, fit = [], runs.fit

    def watched(config, clips, *arguments, **options):
        heard = {clip.speaker for clip in clips if clip.split in ("train", "validation")}
        trained.append((config.seed, heard, {clip.speaker for clip in clips if clip.split == "test"}))
        return fit(config, clips, *arguments, **options)

    monkeypatch.setattr(runs, "fit", watched)
    wanted = [v for v in variants(unsplit, ["model.fusion=concat,late"]) if v.alone in (None, "text")]
    found = compare_folds(wanted, Folds("speaker", 2), 1, tmp_path / "out")
    assert len(trained) == 2 * 3
    assert all(heard and not heard & tested for _, heard, tested in trained)
    assert sorted(found.tested.ids) == sorted(f"corpus/clip{i}" for i in range(40))
    assert [variant.name for variant in found.variants] == ["concat", "late", "text alone", CHOSEN]
    assert all(len(said) == 40 for result in found.results for said in result.answers.values())
    table = make_table(found, "uar")
    assert (table.clips, table.people, table.reference) == (40, 8, "text alone")
    assert len(write_report(table, tmp_path)) == 4
    render(table)
    compare_folds(wanted, Folds("speaker", 2), 1, tmp_path / "out")
    assert len(trained) == 2 * 3  # what is finished is never run again


def test_what_shares_half_with_the_test_is_left_out(unsplit):
    clips = [clip for corpus in folds.load_corpora(unsplit.data) for clip in corpus.clips]
    clips = [replace(clip, attributes={"sentence": str(i % 5)}) for i, clip in enumerate(clips)]
    data = replace(unsplit.data, folds=2, fold=3, fold_by="speaker+sentence", validation=0.0)
    divided = split_clips(clips, data)
    assert len(divided) == 4 * 3 + 4 * 2 == len({clip.id for clip in divided})


def result(variant, seed, validation, said, alone=None):
    return Result(f"{variant}{seed}", variant, alone, seed, {"speech": said}, 1, 1.0, 1.0, validation)


def fold(name, *results):
    return Comparison((), results, Tested("emotion", ("a", "b"), (name,), (1,), (name,)))


def test_the_choice_is_by_the_mean_of_validation_in_each_fold(config):
    # b is better on every test clip; its validation says so in the second fold only.
    first = fold(
        "x",
        result("a", 0, 0.9, [0]),
        result("b", 0, 0.2, [1]),
        result("a", 1, 0.1, [0]),
        result("b", 1, 0.7, [1]),
    )
    second = fold(
        "y",
        result("a", 0, 0.5, [0]),
        result("b", 0, 0.6, [1]),
        result("a", 1, 0.5, [0]),
        result("b", 1, 0.5, [1]),
    )
    found = pooled([Variant("a", config), Variant("b", config)], [first, second])
    chosen = [r.answers["speech"] for r in found.results if r.variant == CHOSEN]
    assert chosen == [[0, 1], [0, 1]]
    assert found.tested.ids == ("x", "y")
    table = make_table(found)
    assert table.reference == "a"
    assert {row.variant: row.whole["accuracy"].mean for row in table.rows} == {
        "a": 0.0,
        "b": 1.0,
        CHOSEN: 0.5,
    }


@pytest.mark.parametrize("text", ["voice:5", "speaker:1", "speaker:", "speaker:x", ""])
def test_folds_that_there_are_not_are_refused(text):
    with pytest.raises(ConfigError, match="--folds"):
        parse_folds(text)


def test_folds_are_read():
    assert parse_folds("speaker+sentence:3") == Folds("speaker+sentence", 3)
    assert parse_folds("session") == Folds("session")
