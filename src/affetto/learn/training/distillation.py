"""A teacher: a trained model whose answers to the training clips are targets beside their labels.

It answers every clip once, before the stage, and as the clip is: what augmentation later changes, the student
is to answer all the same. Clips without a label are answered as well, which is what makes raw text of use.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from affetto.errors import ConfigError
from affetto.files import write_whole
from affetto.learn.config import DistilConfig, ModelConfig, TaskConfig
from affetto.learn.losses import distillation_loss, similarity_loss
from affetto.learn.models.recogniser import VOTE, Output, Recogniser
from affetto.learn.training.augmentation import Stretch
from affetto.learn.training.loaders import BatchBuilder, make_loader, move, reading_plans
from affetto.learn.training.media_cache import ClipKey, MediaCache
from affetto.learn.training.objectives import heard
from affetto.records import Batch, Clip

#: Under which names the answers stand among the targets of a batch.
EMBEDDING = "embedding.teacher"
_BATCH = 64


@dataclass(frozen=True)
class Teacher:
    """A trained model with what its media are prepared by."""

    recogniser: Recogniser
    config: ModelConfig
    tokenizer: Tokenizer | None


@dataclass(frozen=True)
class Answers:
    """What a teacher says of N clips: task to logits [N C] of its vote, embeddings [N D]; `rows` finds a clip."""

    rows: Mapping[ClipKey, int]
    logits: Mapping[str, NDArray[np.float32]]
    embeddings: NDArray[np.float32]

    def targets(
        self, clips: Sequence[Clip], heard: Sequence[Stretch]
    ) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_]]:
        """The answers to the clips of a batch, whatever is heard of them, and the rows that have one."""
        found = [self.rows.get((clip.corpus, clip.id), -1) for clip in clips]
        values = {answer_name(task): rows[found] for task, rows in self.logits.items()}
        return {**values, EMBEDDING: self.embeddings[found]}, np.array(found) >= 0


def answer_name(task: str) -> str:
    """What the teacher's logits of a task are called among the targets of a batch."""
    return f"{task}.teacher"


def ask(
    teacher: Teacher,
    clips: Sequence[Clip],
    tasks: Sequence[TaskConfig],
    distil: DistilConfig,
    keep: Path,
) -> Answers:
    """The teacher's answers to the clips that it is asked for, kept in the file `keep`: a resumed run reads them.

    Raises ConfigError `config_invalid` when the teacher has none of the tasks with these labels.
    """
    wanted = [clip for clip in clips if distil.languages is None or clip.language in distil.languages]
    wanted = [clip for clip in wanted if set(clip.modalities()) & set(teacher.config.modalities)]
    columns = _columns(teacher.config.tasks, tasks)
    if not columns or not wanted:
        known = "; ".join(f"{task.name}: {', '.join(task.labels)}" for task in teacher.config.tasks)
        raise ConfigError(
            "config_invalid",
            f"distil.teacher {distil.teacher} has no answer to these clips and tasks; it knows {known}",
        )
    if not keep.exists():
        _write(keep, teacher, wanted)
    with np.load(keep) as stored:
        logits = {name: stored[name][:, places] for name, places in columns.items()}
        embeddings = stored[EMBEDDING]
    return Answers({(clip.corpus, clip.id): i for i, clip in enumerate(wanted)}, logits, embeddings)


def distilled(output: Output, batch: Batch, views: Sequence[str], distil: DistilConfig) -> torch.Tensor:
    """What the teacher's answers cost: the divergence of every trained view and of the vote from its vote, and
    `distil.features` times the difference of what both find alike."""
    losses = []
    for task, logits in output.logits.items():
        name = answer_name(task)
        for view in (view for view in logits if view in views and name in batch.targets):
            mask = batch.target_mask[name] & heard(output, view)
            losses.append(
                distillation_loss(logits[view], batch.targets[name], mask, temperature=distil.temperature)
            )
    if distil.features:
        for view in (view for view in output.embeddings if view in views):
            mask = batch.target_mask[EMBEDDING] & heard(output, view)
            loss = similarity_loss(output.embeddings[view], batch.targets[EMBEDDING], mask)
            losses.append(distil.features * loss)
    return torch.stack(losses).sum()


def _columns(theirs: Sequence[TaskConfig], ours: Sequence[TaskConfig]) -> dict[str, list[int]]:
    """Task to the places of our labels among the teacher's, where it has all of them."""
    known = {task.name: task.labels for task in theirs}
    return {
        task.name: [known[task.name].index(label) for label in task.labels]
        for task in ours
        if task.name in known and task.labels and set(task.labels) <= set(known[task.name])
    }


def _write(keep: Path, teacher: Teacher, clips: Sequence[Clip]) -> None:
    cache = MediaCache(teacher.config, teacher.tokenizer)
    cache.add(clips)
    plans, order = reading_plans(cache, clips, _BATCH)
    device = next(teacher.recogniser.parameters()).device
    parts: dict[str, list[NDArray[np.float32]]] = {}
    with torch.inference_mode():
        for batch in make_loader(BatchBuilder(cache, ()), plans):
            output = teacher.recogniser.eval()(move(batch, device).inputs)
            said = {task: logits[VOTE] for task, logits in output.logits.items()}
            # Fused views stand first: the first view is the one that has seen most.
            view = next(iter(output.embeddings))
            for name, values in {**said, EMBEDDING: output.embeddings[view]}.items():
                parts.setdefault(name, []).append(values.float().cpu().numpy())
    places = np.argsort(order)
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.concatenate(rows)[places] for name, rows in parts.items()})  # type: ignore[arg-type]
    write_whole(keep, buffer.getvalue())
