"""`affetto compare`: from the command line to its files, and what it refuses."""

import json

import numpy as np
import pytest

from affetto.cli.app import main
from affetto.errors import ConfigError
from affetto.learn.config import (
    CorpusConfig,
    DataConfig,
    ExperimentConfig,
    FeaturesConfig,
    ModelConfig,
    StageConfig,
    TaskConfig,
    TrainConfig,
    to_yaml,
)
from affetto.learn.training.run_folder import RunFolder


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch):
    """Drawing takes longer than these runs."""
    monkeypatch.setattr(RunFolder, "write_curves", lambda *_: None)


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["compare", *map(str, arguments)])
    return stopped.value.code


@pytest.fixture(scope="module")
def small_yaml(tmp_path_factory):
    """An experiment on features of three modalities, of 8 people, 2 of them for the test."""
    folder = tmp_path_factory.mktemp("small")
    rng, names = np.random.default_rng(0), ("speech", "text", "vision")
    np.savez(folder / "f.npz", **{name: rng.normal(size=(24, 2)) for name in names})
    rows = ["id,features:speech,features:text,features:vision,label:sentiment,speaker,split"]
    for i in range(24):
        sources = ",".join(f"f.npz#{name}/{i}" for name in names)
        rows.append(f"{i},{sources},{('negative', 'positive')[i % 2]},p{i // 3},{'test' if i >= 18 else ''}")
    (folder / "corpus.csv").write_text("\n".join(rows) + "\n")
    config = ExperimentConfig(
        name="small",
        data=DataConfig(corpora=(CorpusConfig("manifest", str(folder / "corpus.csv")),), validation=0.3),
        model=ModelConfig(
            dim=4,
            features={name: FeaturesConfig(size=2, width=4) for name in names},
            tasks=(TaskConfig("sentiment", labels=("negative", "positive")),),
        ),
        train=TrainConfig(stages=(StageConfig("fusion", names, steps=2),), devices=0),
    )
    (folder / "small.yaml").write_text(to_yaml(config))
    return folder / "small.yaml"


def test_a_yaml_file_gives_a_table_and_a_plot(small_yaml, tmp_path, capsys):
    assert run(small_yaml, "--vary", "model.fusion=late", "--seeds", 1, "-o", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "late, seed 0: accuracy" in said
    assert "test clips of 2 speakers, 1 seed." in said
    made = json.loads((tmp_path / "out" / "table.json").read_text())
    assert [row["variant"] for row in made["rows"]] == ["late", "speech alone", "text alone", "vision alone"]
    assert run(small_yaml, "--vary", "model.fusion=late", "--seeds", 1, "-o", tmp_path / "out") == 0
    assert "4 of 4 runs are there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "experiment_unknown"),
        (("mosi", "--metric", "f1"), "expected one of accuracy, uar, macro_f1"),
        (("mosi", "--seeds", "0"), "--seeds"),
        (("mosi", "--vary", "model.fusion"), "expected path=value"),
        (("mosi", "--vary", "model.fusion=conkat", "--set", "data.root=nowhere"), "nowhere"),
    ],
)
def test_what_it_refuses_is_one_line(arguments, said, capsys, tmp_path):
    assert run(*arguments, "-o", tmp_path / "out") == 2
    assert said in capsys.readouterr().err


def test_what_is_not_installed_is_named(monkeypatch):
    from affetto.cli import train as command

    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="training needs torch"):
        command.require_extra()
