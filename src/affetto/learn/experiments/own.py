"""An experiment for a manifest of one's own: sized by what its clips hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from affetto.errors import DataError
from affetto.labels import EMOTIONS
from affetto.learn.config import (
    CorpusConfig,
    DataConfig,
    ExperimentConfig,
    FeaturesConfig,
    ModelConfig,
    SpeechConfig,
    StageConfig,
    TaskConfig,
    TextConfig,
    TrainConfig,
    VisionConfig,
)
from affetto.records import MODALITIES, Clip, Label, TaskKind

#: Of silence around the speech: how much a corpus leaves is its signature, and no feeling.
_MARGIN_SECONDS = 0.0


def own(
    path: str, name: str, clips: Sequence[Clip], sizes: Mapping[str, int] | None = None
) -> ExperimentConfig:
    """A stage per modality, then one for their fusion; a task per label that the clips carry.

    `sizes` maps modalities that come as precomputed features to their values per step.
    Where hardly any clip brings several modalities, the fusion learns from clips composed by label. Raises
    DataError `manifest_column_missing` when no clip carries a label, `nothing_to_predict` when all carry the same.
    """
    tasks = tuple(
        task_of(task, clips) for task in dict.fromkeys(task for clip in clips for task in clip.labels)
    )
    if not tasks:
        raise DataError(
            "manifest_column_missing", f"{path} has no labels to learn from: add a column, such as emotion"
        )
    features = {name: FeaturesConfig(size=size) for name, size in (sizes or {}).items()}
    modalities = tuple(name for name in MODALITIES if any(name in clip.modalities() for clip in clips))
    media = [name for name in modalities if name not in features]
    stages = [StageConfig(name, (name,), epochs=20, ema=0.99, patience=5) for name in modalities]  # type: ignore[arg-type]
    if len(modalities) > 1:
        together = sum(len(clip.modalities()) > 1 for clip in clips) > 0.5 * len(clips)
        stages.append(
            StageConfig(
                "fusion",
                modalities,  # type: ignore[arg-type]
                epochs=10,
                lr=3e-4,
                ema=0.99,
                patience=5,
                paired=not together and tasks[0].kind == "single-label",
                modality_dropout=0.5,
            )
        )
    return ExperimentConfig(
        name=name,
        data=DataConfig(corpora=(CorpusConfig("manifest", path),)),
        model=ModelConfig(
            speech=SpeechConfig(margin_seconds=_MARGIN_SECONDS) if "speech" in media else None,
            text=TextConfig() if "text" in media else None,
            vision=VisionConfig() if "vision" in media else None,
            features=features,
            tasks=tasks,
        ),
        train=TrainConfig(stages=tuple(stages)),
    )


def task_of(name: str, clips: Sequence[Clip]) -> TaskConfig:
    """The task that the clips' labels of that name make: their classes, or numbers.

    Raises DataError `nothing_to_predict` for a single class, which is no question.
    """
    labels = [clip.labels[name] for clip in clips if name in clip.labels]
    classes = sorted({label for value in labels for label in _classes(value)})
    if len(classes) == 1:
        raise DataError(
            "nothing_to_predict",
            f"{name}: every labelled clip is {classes[0]!r}, and a model of them could only repeat it; add clips "
            "that are something else",
        )
    kind: TaskKind = "single-label" if classes else "dimension"
    if name == "emotion":
        classes = [emotion for emotion in EMOTIONS if emotion in classes]
    return TaskConfig(name, kind, tuple(classes))


def _classes(label: Label) -> tuple[str, ...]:
    if isinstance(label, str):
        return (label,)
    return tuple(label) if isinstance(label, (tuple, Mapping)) else ()
