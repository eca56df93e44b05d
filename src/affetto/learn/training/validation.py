"""What a model says of clips, in torch: logits for calibration, and the scores that training watches."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from affetto.evaluation.metrics import (
    accuracy,
    concordance,
    equal_error_rate,
    multilabel_f1,
    uar,
    verification_trials,
)
from affetto.files import write_whole
from affetto.learn.config import TaskConfig
from affetto.learn.models.recogniser import VOTE, Output, Recogniser
from affetto.learn.training.loaders import BatchBuilder, make_loader, move, reading_plans
from affetto.learn.training.media_cache import MediaCache
from affetto.learn.training.objectives import heard
from affetto.learn.training.shards import of_all_ranks, own_rows
from affetto.learn.training.targets import person, targets_of
from affetto.records import Clip

#: The score that decides between two models, by kind of task.
DECISIVE = {"single-label": "uar", "multi-label": "macro_f1", "dimension": "ccc", "identity": "eer"}

#: Clips that are compared with each other at most: a million pairs tell an error rate well enough.
_MOST_COMPARED = 1500

#: ("logits", task, view), ("present", "", view), ("embeddings", "", view) or ("weights", task, "").
_Place = tuple[str, str, str]


@dataclass(frozen=True)
class Logits:
    """Raw answers to N clips, in their order.

    logits: task to view to [N C]; present: view to [N] bool, the clips of which the view has something to
    say; weights: task to [N V], how the vote listened to the views; embeddings: view to [N D].
    """

    ids: tuple[str, ...]
    logits: Mapping[str, Mapping[str, NDArray[np.float32]]]
    present: Mapping[str, NDArray[np.bool_]]
    weights: Mapping[str, NDArray[np.float32]]
    embeddings: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def predict_logits(
    recogniser: Recogniser,
    clips: Sequence[Clip],
    cache: MediaCache,
    *,
    batch_size: int = 32,
    workers: int = 0,
    alone: bool = False,
) -> Logits:
    """The model's logits of clips that are in the cache, without augmentation; modes and gradients untouched.

    Of a clip longer than a window the beginning is read. The ranks of a run read a part of each batch; all of
    them get the answers to all clips. alone: see `Recogniser.fuse`.
    """
    plans, order = reading_plans(cache, clips, batch_size)
    device = next(recogniser.parameters()).device
    modes = {module: module.training for module in recogniser.modules()}
    recogniser.eval()
    parts: list[dict[_Place, NDArray[Any]]] = []
    try:
        # Weights that are brought together in inference mode for the first time could not be trained.
        with torch.no_grad():
            for batch in make_loader(BatchBuilder(cache, ()), plans, workers):
                output = recogniser(move(own_rows(batch), device).inputs, alone=alone)
                parts.append(_arrays(of_all_ranks(output, len(batch.ids))))
    finally:
        for module, training in modes.items():
            module.training = training
    places = np.argsort(order)
    columns = (
        {key: np.concatenate([part[key] for part in parts])[places] for key in parts[0]} if parts else {}
    )
    logits: dict[str, dict[str, NDArray[np.float32]]] = {}
    for (what, name, view), rows in columns.items():
        if what == "logits":
            logits.setdefault(name, {})[view] = rows
    return Logits(
        ids=tuple(clip.id for clip in clips),
        logits=logits,
        present={view: rows for (what, _, view), rows in columns.items() if what == "present"},
        weights={name: rows for (what, name, _), rows in columns.items() if what == "weights"},
        embeddings={view: rows for (what, _, view), rows in columns.items() if what == "embeddings"},
    )


def scores(logits: Logits, clips: Sequence[Clip], tasks: Sequence[TaskConfig]) -> dict[str, float]:
    """`task.view.metric` to value, over the clips that carry the label and that the view can see.

    Single-label tasks: `uar` and `wa` over clips with one most likely class; multi-label: `macro_f1` at one
    half; dimensions: `ccc`; identities: `eer`, the equal error rate of telling by the views' embeddings
    whether two clips of a corpus are of one person. A view that sees no such clip has no score, and neither
    has an adversary.
    """
    result: dict[str, float] = {}
    for task in tasks:
        if task.kind == "identity":
            result.update(_verification(logits, clips, task))
            continue
        targets, mask = targets_of(clips, task)
        for view, values in logits.logits.get(task.name, {}).items():
            rows = mask & logits.present[view]
            result.update(
                {
                    f"{task.name}.{view}.{name}": value
                    for name, value in _scores(task, values[rows], targets[rows])
                }
            )
    return result


def weigh_votes(recogniser: Recogniser, values: Mapping[str, float], tasks: Sequence[TaskConfig]) -> bool:
    """Tell the votes that weigh by validation what their views scored above chance; False if there are none."""
    told = False
    for task in tasks:
        vote = recogniser.votes[task.name]
        if hasattr(vote, "weigh"):
            chance = 1 / len(task.labels) if task.kind == "single-label" else 0.0
            names = {
                view: f"{task.name}.{view}.{DECISIVE[task.kind]}" for view in recogniser.views_of(task.name)
            }
            vote.weigh({view: values[name] - chance for view, name in names.items() if name in values})  # type: ignore[operator]
            told = True
    return told


def decisive_score(
    values: Mapping[str, float], tasks: Sequence[TaskConfig], views: Sequence[str]
) -> float | None:
    """One number to choose weights by: the mean over tasks of the vote's score, or of the trained views'.

    Of an error rate, one minus it; a vote has no embedding, so people are always told apart by the views.
    Adversaries have no say.
    """
    chosen = []
    for task in tasks:
        people = task.kind == "identity"
        heads = [VOTE] if VOTE in views and not people else views
        names = [f"{task.name}.{view}.{DECISIVE[task.kind]}" for view in heads]
        found = [1.0 - values[name] if people else values[name] for name in names if name in values]
        if found and task.weight > 0.0 and not task.adversarial:
            chosen.append(sum(found) / len(found))
    return sum(chosen) / len(chosen) if chosen else None


def write_logits(path: Path, logits: Logits, clips: Sequence[Clip], tasks: Sequence[TaskConfig]) -> None:
    """What calibration needs in one `.npz`: ids, `logits.task.view`, `present.view`, `target.task`, ..."""
    arrays: dict[str, NDArray[np.generic]] = {"ids": np.array(logits.ids, dtype=np.str_)}
    arrays.update({f"present.{view}": rows for view, rows in logits.present.items()})
    arrays.update({f"weights.{task}": rows for task, rows in logits.weights.items()})
    for task in tasks:
        arrays.update(
            {f"logits.{task.name}.{view}": v for view, v in logits.logits.get(task.name, {}).items()}
        )
        arrays[f"target.{task.name}"], arrays[f"target_mask.{task.name}"] = targets_of(clips, task)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_whole(path, buffer.getvalue())


def _arrays(output: Output) -> dict[_Place, NDArray[Any]]:
    tensors = {
        ("logits", task, view): values
        for task, views in output.logits.items()
        for view, values in views.items()
    }
    seen = {view: heard(output, view) for view in (*output.present, VOTE)}
    tensors.update({("present", "", view): rows for view, rows in seen.items()})
    tensors.update({("weights", task, ""): rows for task, rows in output.weights.items()})
    tensors.update({("embeddings", "", view): rows for view, rows in output.embeddings.items()})
    return {place: values.cpu().numpy() for place, values in tensors.items()}


def _verification(logits: Logits, clips: Sequence[Clip], task: TaskConfig) -> dict[str, float]:
    found = {}
    for view in task.views or logits.embeddings:
        rows = [i for i, clip in enumerate(clips) if clip.speaker is not None and logits.present[view][i]]
        rows = rows[:: -(-len(rows) // _MOST_COMPARED) or 1]
        people = [person(clips[i]) for i in rows]
        corpora = [clips[i].corpus for i in rows]
        value = equal_error_rate(*verification_trials(logits.embeddings[view][rows], people, corpora))
        if not math.isnan(value):
            found[f"{task.name}.{view}.eer"] = value
    return found


def _scores(
    task: TaskConfig, logits: NDArray[np.float32], targets: NDArray[np.float32]
) -> list[tuple[str, float]]:
    if task.kind == "dimension":
        value = concordance(targets, logits.reshape(-1)) if len(targets) else math.nan
        return [] if math.isnan(value) else [("ccc", value)]
    if not len(targets):
        return []
    if task.kind == "multi-label":
        return [
            ("macro_f1", multilabel_f1(targets > 0.5, logits, 0.0))
        ]  # logit 0 is a probability of one half
    clear = (targets == targets.max(axis=1, keepdims=True)).sum(axis=1) == 1
    truth, said = targets[clear].argmax(axis=1), logits[clear].argmax(axis=1)
    return [("uar", uar(truth, said)), ("wa", accuracy(truth, said))] if clear.any() else []
