"""What is run, what is not run again, and what is left of a comparison that was killed."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from affetto.errors import ConfigError, DataError, TrainingError
from affetto.learn.compare import runs
from affetto.learn.compare.grid import variants
from affetto.learn.config import apply_settings
from affetto.learn.training.media_cache import MediaCache

VARY = ["model.fusion=concat,gated"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("comparison")


@pytest.fixture(scope="module")
def comparison(config, folder):
    return runs.compare(variants(config, VARY), 2, folder)


@pytest.fixture
def trained(monkeypatch):
    """The (fusion, modalities, seed) of every run that is trained."""
    found, fit = [], runs.fit

    def counting(config, *arguments, **options):
        found.append((config.model.fusion.name, config.model.modalities, config.seed))
        return fit(config, *arguments, **options)

    monkeypatch.setattr(runs, "fit", counting)
    return found


def table_of(source):
    """The manifest's text, for a copy of it in another folder."""
    path = Path(source)
    return path.read_text().replace("features.npz", str(path.with_name("features.npz")))


def test_every_variant_and_seed_is_one_line(comparison, folder):
    lines = (folder / "results.jsonl").read_text().splitlines()
    assert len(lines) == len(comparison.results) == 5 * 2
    assert {(r.variant, r.seed) for r in comparison.results} == {
        (name, seed)
        for name in ("concat", "gated", "speech alone", "text alone", "vision alone")
        for seed in (0, 1)
    }
    assert len({json.loads(line)["key"] for line in lines}) == 10


def test_a_run_answers_from_every_subset(comparison):
    whole, *_, single = (r for r in comparison.results if r.seed == 0)
    assert [*whole.answers] == [
        "speech+text+vision", "speech+text", "speech+vision", "text+vision", "speech", "text", "vision"
    ]  # fmt: skip
    assert [*single.answers] == ["vision"]
    assert {len(said) for said in whole.answers.values()} == {len(comparison.tested.truth)} == {10}
    assert set(whole.answers["text"]) <= {0, 1}
    assert whole.parameters > single.parameters > 0
    assert whole.step_ms > 0


def test_the_answers_are_those_of_the_trained_model(config, tmp_path):
    from affetto.learn.training.corpora import load_clips
    from affetto.learn.training.loop import fit
    from affetto.learn.training.validation import predict_logits

    (variant, *_) = variants(config, [])
    found = runs.compare([variant], 1, tmp_path / "compared").results[0]
    clips = load_clips(config.data)
    result = fit(config, clips, tmp_path / "alone")
    tested = [clip for clip in clips if clip.split == "test"]
    result.cache.add(tested)
    expected = predict_logits(result.recogniser, tested, result.cache).logits["sentiment"]["vote"]
    assert found.answers["speech+text+vision"] == expected.argmax(axis=1).tolist()


def test_nothing_is_run_twice_and_what_is_new_is_added(config, comparison, folder, trained):
    again = runs.compare(variants(config, VARY), 2, folder)
    assert (trained, again) == ([], comparison)
    more = runs.compare(variants(config, ["model.fusion=gated,late"]), 2, folder)
    assert trained == [("late", ("speech", "text", "vision"), seed) for seed in (0, 1)]
    assert len(more.results) == 10
    assert len((folder / "results.jsonl").read_text().splitlines()) == 12


def test_media_are_decoded_once_for_all(config, tmp_path, monkeypatch):
    added, add = [], MediaCache._add_features

    def counting(self, clip, name):
        before = len(self._features)
        add(self, clip, name)
        added.extend([name] * (len(self._features) - before))

    monkeypatch.setattr(MediaCache, "_add_features", counting)
    runs.compare(variants(config, [])[:2], 2, tmp_path)
    assert {name: added.count(name) for name in set(added)} == {"speech": 40, "text": 40, "vision": 40}


def test_a_killed_comparison_goes_on(config, comparison, tmp_path, trained):
    out = tmp_path / "out"
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # threads do not survive a fork
        runs.compare(variants(config, VARY), 1, out)
        os._exit(0)
    deadline = time.monotonic() + 300
    while not runs.read_results(out) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    there = runs.read_results(out)
    assert 1 <= len(there) < 5
    found = runs.compare(variants(config, VARY), 1, out)
    assert len(trained) == 5 - len(there)
    through = [r.answers for r in comparison.results if r.seed == 0]
    assert [r.answers for r in found.results] == through
    assert runs.read_results(out)[: len(there)] == there, "a finished line never changes"


def test_another_test_set_needs_another_folder(config, comparison, folder, tmp_path):
    table = tmp_path / "corpus.csv"
    source = config.data.corpora[0].path
    text = table_of(source)
    table.write_text(text.rsplit("\n", 2)[0] + "\n")
    other = apply_settings(config, [f"data.corpora.0.path={table}"])
    with pytest.raises(TrainingError, match="other test clips"):
        runs.compare(variants(other, []), 1, folder)


def test_what_cannot_be_compared_is_said(config, tmp_path):
    untested = apply_settings(config, ["data.reserved={}", "model.tasks.0.name=stance"])
    with pytest.raises(DataError, match="no test clip has one stance"):
        runs.compare(variants(untested, []), 1, tmp_path)
    number = apply_settings(config, ["model.tasks.0.kind=dimension"])
    with pytest.raises(ConfigError, match="single-label"):
        runs.compare(variants(number, []), 1, tmp_path)
    (tmp_path / "results.jsonl").write_text("no result\n")
    with pytest.raises(TrainingError, match="no results"):
        runs.compare(variants(config, []), 1, tmp_path)


def test_a_clip_without_any_of_a_subset_has_no_answer(config, tmp_path):
    source = config.data.corpora[0].path
    rows = table_of(source).splitlines()
    cells = rows[-1].split(",")
    cells[2] = ""  # the last test clip has no text
    (tmp_path / "c.csv").write_text("\n".join([*rows[:-1], ",".join(cells)]) + "\n")
    other = apply_settings(config, [f"data.corpora.0.path={tmp_path / 'c.csv'}"])
    found = runs.compare(variants(other, [])[:1], 1, tmp_path / "out").results[0]
    assert found.answers["text"][-1] == runs.SILENT
    assert runs.SILENT not in found.answers["text"][:-1]
    assert runs.SILENT not in found.answers["speech+text"]
    assert np.shape(found.answers["text"]) == (10,)
