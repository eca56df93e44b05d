"""The experiment that `affetto train my.csv --adapt` makes: a bundle's model, its weights, and your clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from affetto.errors import DataError
from affetto.learn.config import (
    CorpusConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    StageConfig,
    TrainConfig,
)
from affetto.learn.experiments.own import task_of
from affetto.records import Clip

#: What learns: the heads alone, corrections of low rank to all weights, or all weights.
How = Literal["head", "low-rank", "all"]

_RANK = 4
#: Of the heads, which may be new, and of weights that know something already.
_RATES = {"head": 1e-3, "low-rank": 1e-3, "all": 2e-4}


def adapted(
    path: str, name: str, clips: Sequence[Clip], model: ModelConfig, start: str, licence: str, how: How
) -> ExperimentConfig:
    """One stage that moves a bundle's model, its path `start`, towards the clips of a manifest.

    The model's tasks keep all of their labels; labels that no task of its has become new tasks with fresh heads.
    A quarter of the speakers is kept for validation, unless the manifest has splits. Raises DataError
    `manifest_column_missing` without labels, `nothing_to_predict` where the clips bring no modality of the
    model's, or one label is all that they carry.
    """
    names = dict.fromkeys(task for clip in clips for task in clip.labels)
    if not names:
        raise DataError(
            "manifest_column_missing", f"{path} has no labels to learn from: add a column, such as emotion"
        )
    brought = {name for clip in clips for name in clip.modalities()}
    modalities = tuple(name for name in model.modalities if name in brought)
    if not modalities:
        raise DataError(
            "nothing_to_predict",
            f"{path}: its clips bring {', '.join(sorted(brought)) or 'nothing'}, the model reads "
            f"{', '.join(model.modalities)}",
        )
    known = {task.name for task in model.tasks}
    fresh = tuple(task for name in names if (task := task_of(name, clips)).name not in known)
    stage = StageConfig(
        "adapt",
        modalities,  # type: ignore[arg-type]
        epochs=20,
        batch_size=16,
        lr=_RATES[how],
        ema=0.99,
        patience=5,
        modality_dropout=0.3 if len(modalities) > 1 else 0.0,
        freeze=("encoders", "fusion") if how == "head" else (),
    )
    return ExperimentConfig(
        name=name,
        licence=licence,
        data=DataConfig(corpora=(CorpusConfig("manifest", path),), validation=0.25),
        model=replace(model, tasks=(*model.tasks, *fresh)),
        train=TrainConfig(stages=(stage,), start_from=start, low_rank=_RANK if how == "low-rank" else None),
    )
