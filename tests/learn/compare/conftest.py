"""A corpus of features in an archive, whose text tells the class, whose speech half does, and vision does not."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from affetto.learn.config import (
    CorpusConfig,
    DataConfig,
    ExperimentConfig,
    FeaturesConfig,
    FusionConfig,
    ModelConfig,
    StageConfig,
    TaskConfig,
    TrainConfig,
)
from affetto.learn.training.run_folder import RunFolder

LABELS = ("negative", "positive")


@pytest.fixture(scope="module", autouse=True)
def _no_curves():
    """Drawing takes longer than these runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "write_curves", lambda *_: None)
        yield


def write_corpus(folder, people=8, each=5):
    """`corpus.csv` and `features.npz`: the last two people are the test, two more validate."""
    rng, rows = np.random.default_rng(0), []
    truth = rng.integers(0, 2, people * each)
    sign = 2.0 * truth[:, None] - 1
    np.savez(
        folder / "features.npz",
        speech=rng.normal(size=(len(truth), 4)) + 0.5 * sign,
        text=rng.normal(size=(len(truth), 3)) + 2.0 * sign,
        vision=rng.normal(size=(len(truth), 2)),
    )
    for i, label in enumerate(truth):
        person = i // each
        split = "test" if person >= people - 2 else "validation" if person >= people - 4 else "train"
        sources = [f"features.npz#{name}/{i}" for name in ("speech", "text", "vision")]
        rows.append((f"clip{i}", *sources, LABELS[label], f"p{person}", split))
    header = (
        "id",
        "features:speech",
        "features:text",
        "features:vision",
        "label:sentiment",
        "speaker",
        "split",
    )
    with open(folder / "corpus.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return folder / "corpus.csv"


def make_config(path):
    names = ("speech", "text", "vision")
    return ExperimentConfig(
        name="small",
        data=DataConfig(corpora=(CorpusConfig("manifest", str(path)),)),
        model=ModelConfig(
            dim=4,
            features={name: FeaturesConfig(size=4 - i, width=4) for i, name in enumerate(names)},
            fusion=FusionConfig(name="concat"),
            tasks=(TaskConfig("sentiment", labels=LABELS),),
        ),
        train=TrainConfig(
            stages=(StageConfig("fusion", names, epochs=1, batch_size=10, modality_dropout=0.5),), devices=0
        ),
    )


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    return make_config(write_corpus(tmp_path_factory.mktemp("corpus")))
