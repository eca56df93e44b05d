"""Labels of Clips to targets of Tasks: distributions, questions answered yes or no, numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from affetto.errors import DataError
from affetto.learn.config import TaskConfig
from affetto.records import Clip, Label

#: Tasks that a clip answers by what it is, when its labels do not say; and by its other attributes.
_FIELDS = ("language", "gender", "speaker")

#: The class of a task such as `language` ("en", "other") for every value that has no class of its own.
OTHER = "other"


def label_of(clip: Clip, task: TaskConfig) -> Label | None:
    """The clip's label for a task, or None.

    A task named language, gender or speaker reads that field, another one an attribute of its name, such as
    RAVDESS's intensity. An identity is the person, where it is one that the task knows.
    """
    if task.kind == "identity":
        known = person(clip)
        return known if known in task.labels else None
    if task.name in clip.labels:
        return clip.labels[task.name]
    value = getattr(clip, task.name) if task.name in _FIELDS else clip.attributes.get(task.name)
    if value is None or value in task.labels or task.kind == "dimension":
        return value
    return OTHER if OTHER in task.labels else None


def person(clip: Clip) -> str | None:
    """A name that no two people share: `corpus/speaker`; None where the speaker is unknown."""
    return clip.speaker if clip.speaker is None or clip.corpus is None else f"{clip.corpus}/{clip.speaker}"


def with_people(tasks: Sequence[TaskConfig], clips: Iterable[Clip]) -> tuple[TaskConfig, ...]:
    """The tasks; an identity without labels gets the people of these clips, in order of their names.

    Raises DataError `nothing_to_predict` when there are fewer than two.
    """
    if all(task.kind != "identity" or task.labels for task in tasks):
        return tuple(tasks)
    people = tuple(sorted({name for clip in clips if (name := person(clip)) is not None}))
    if len(people) < 2:
        names = ", ".join(task.name for task in tasks if task.kind == "identity")
        raise DataError(
            "nothing_to_predict",
            f"task {names}: the training clips name {len(people)} speakers, expected at least 2; name them",
        )
    return tuple(
        replace(task, labels=people) if task.kind == "identity" and not task.labels else task
        for task in tasks
    )


def target_of(clip: Clip, task: TaskConfig) -> NDArray[np.float32] | None:
    """What a head should answer: [C] (or [] for a dimension); None when the clip does not carry the label.

    Single-label: a distribution: one class, annotators' votes, or several classes in equal shares.
    Multi-label: 0 or 1 per class, or the share of annotators. Dimension: the number.
    Raises DataError `label_unknown` when the label is not one of the task's.
    """
    label = label_of(clip, task)
    if label is None:
        return None
    if task.kind == "dimension":
        return _number(label, clip, task)
    shares = np.zeros(len(task.labels), dtype=np.float32)
    for name, share in _shares(label, clip, task).items():
        shares[_index(name, clip, task)] = share
    total = float(shares.sum())
    if total <= 0.0:
        return None
    several = isinstance(label, (str, tuple))
    return shares if task.kind == "multi-label" and several else shares / np.float32(total)


def single_label(clip: Clip, task: TaskConfig) -> str | None:
    """The one class of a clip: its label, its only label, or what most annotators said; None when unclear."""
    label = label_of(clip, task)
    if isinstance(label, str):
        return label
    if isinstance(label, tuple):
        return label[0] if len(label) == 1 else None
    if isinstance(label, Mapping) and label:
        name, count = max(label.items(), key=lambda item: item[1])
        return name if count > 0.5 * sum(label.values()) else None
    return None


def targets_of(clips: Sequence[Clip], task: TaskConfig) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Targets [B C] (or [B]) and their mask [B] of some clips; rows without the label are zero."""
    shape = () if task.kind == "dimension" else (len(task.labels),)
    targets = np.zeros((len(clips), *shape), dtype=np.float32)
    mask = np.zeros(len(clips), dtype=np.bool_)
    for i, clip in enumerate(clips):
        target = target_of(clip, task)
        if target is not None:
            targets[i], mask[i] = target, True
    return targets, mask


def _shares(label: Label, clip: Clip, task: TaskConfig) -> Mapping[str, float]:
    if isinstance(label, str):
        return {label: 1.0}
    if isinstance(label, tuple):
        return dict.fromkeys(label, 1.0)
    if isinstance(label, Mapping):
        return label
    raise _unknown(label, clip, task)


def _index(name: str, clip: Clip, task: TaskConfig) -> int:
    if name not in task.labels:
        raise _unknown(name, clip, task)
    return task.labels.index(name)


def _number(label: Label, clip: Clip, task: TaskConfig) -> NDArray[np.float32]:
    try:
        return np.array(float(label), dtype=np.float32)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        expected = f"clip {clip.id}: {task.name} is {label!r}: expected a number"
        raise DataError("label_unknown", expected) from None


def _unknown(label: object, clip: Clip, task: TaskConfig) -> DataError:
    known = ", ".join(task.labels)
    return DataError(
        "label_unknown",
        f"clip {clip.id}: {task.name} is {label!r}: expected one of {known}; map it, or drop the clip",
    )
