"""The clips of a stage, planned epoch by epoch: which are drawn, how they are composed, in which batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from affetto.errors import DataError
from affetto.learn.config import ExperimentConfig, StageConfig, TaskConfig
from affetto.learn.losses import effective_number
from affetto.learn.models.recogniser import VOTE
from affetto.learn.training.loaders import Answered, Augmentation, BatchBuilder, BatchPlan, text_length
from affetto.learn.training.media_cache import MediaCache
from affetto.learn.training.objectives import trained_views
from affetto.learn.training.pairing import drop_modalities, only_evidence, pair_by_label, pair_count
from affetto.learn.training.randomness import generator
from affetto.learn.training.sampling import bucket, draw, epoch_size, shares
from affetto.learn.training.targets import label_of, targets_of
from affetto.learn.training.vocabulary import special_ids, unknown_id
from affetto.records import Clip

#: Composed validation clips at most: enough for a steady score, and few enough to wait for.
MOST_VALIDATION_PAIRS = 700


class StagePlan:
    """What a stage reads. `batches(epoch)` is a pure function of the run's seed, the stage and the epoch.

    tasks: those of which the stage trains a head.
    """

    def __init__(
        self, config: ExperimentConfig, stage: StageConfig, clips: Sequence[Clip], cache: MediaCache
    ) -> None:
        self._config, self._stage, self._cache = config, stage, cache
        self._task = config.model.tasks[0]
        self.tasks = [task for task in config.model.tasks if _has_trained_view(task, stage, config)]
        self._answers: tuple[Answered, ...] = ()
        self._train = self._usable(clip for clip in clips if clip.split in (None, "train"))
        self.validation = self._validation(self._usable(c for c in clips if c.split == "validation"))
        weights = {corpus.reader: corpus.weight for corpus in config.data.corpora}
        self._strata = shares(self._train, self._task, stage.balance, weights)
        count = pair_count(self._train, self._task, stage.modalities) if stage.paired else len(self._train)
        if count == 0:
            both = f" {' and '.join(stage.modalities)} together, or" if self._pairs_teach else ""
            raise DataError(
                "nothing_to_predict",
                f"stage {stage.name}: no training clip has{both} {' or '.join(stage.modalities)} and a label of "
                f"{', '.join(task.name for task in config.model.tasks)}; check the corpora of the run",
            )
        self._size = epoch_size(count, stage.batch_size)
        self.steps_per_epoch = -(-self._size // stage.batch_size)
        self.total_steps = stage.steps or (stage.epochs or 1) * self.steps_per_epoch

    def batches(self, epoch: int) -> list[BatchPlan]:
        """The batches of an epoch, in order."""
        stage = self._stage
        rng = generator(self._config.seed, stage.name, "order", epoch)
        if stage.paired:
            drawn = pair_by_label(
                self._train, rng, task=self._task, modalities=stage.modalities, size=self._size
            )
            drawn = [drawn[i] for i in rng.permutation(len(drawn))]
        else:
            drawn = [self._train[i] for i in draw(self._strata, self._size, rng)]
        if stage.modality_dropout:
            drawn = [drop_modalities(clip, stage.modality_dropout, rng) for clip in drawn]
        rows = bucket([text_length(self._cache, clip) for clip in drawn], stage.batch_size, rng)
        firsts = accumulate((len(row) for row in rows), initial=0)
        return [
            BatchPlan(tuple(drawn[i] for i in row), epoch, first)
            for row, first in zip(rows, firsts, strict=False)
        ]

    @property
    def training(self) -> Sequence[Clip]:
        """The clips that are drawn from."""
        return self._train

    def teach(self, answers: Answered) -> None:
        """Let the batches carry a teacher's answers too."""
        self._answers = (*self._answers, answers)

    def builder(self) -> BatchBuilder:
        """Makes the batches, augmented."""
        limits = {corpus.reader: corpus.max_seconds for corpus in self._config.data.corpora}
        augmentation = Augmentation(
            self._config.data.augment,
            self._config.seed,
            self._stage.name,
            voices=tuple(clip for clip in self._train if clip.speech is not None),
            max_seconds={name: seconds for name, seconds in limits.items() if seconds is not None},
            unknown=unknown_id(self._cache.tokenizer),
            special=special_ids(self._cache.tokenizer),
        )
        return BatchBuilder(self._cache, self._config.model.tasks, augmentation, self._answers)

    def class_weights(self) -> dict[str, NDArray[np.float64]]:
        """Task to weights [C] by effective number in the training clips, for the tasks that ask for it."""
        return {
            task.name: effective_number(targets_of(self._train, task)[0].sum(axis=0), task.effective_beta)
            for task in self.tasks
            if task.effective_beta is not None and task.kind != "dimension"
        }

    def _usable(self, clips: Iterable[Clip]) -> list[Clip]:
        evidence = [only_evidence(clip, self._stage.modalities) for clip in clips]
        if self._stage.distil is None and self._stage.objective == "supervised":
            evidence = [clip for clip in evidence if self._teaches(clip)]
        return [clip for clip in evidence if clip.modalities()]

    def _teaches(self, clip: Clip) -> bool:
        together = self._pairs_teach and len(clip.modalities()) > 1
        return together or any(_serves(clip, task) for task in self.tasks)

    @property
    def _pairs_teach(self) -> bool:
        """Whether a clip teaches by what stands in it together, without a label."""
        return self._stage.contrastive is not None and self._stage.contrastive.positives == "item"

    def _validation(self, clips: list[Clip]) -> list[Clip]:
        count = pair_count(clips, self._task, self._stage.modalities) if self._stage.paired else 0
        if count == 0:
            return clips
        size = min(MOST_VALIDATION_PAIRS, 3 * count)
        rng = generator(self._config.seed, "validation pairs")
        return pair_by_label(clips, rng, task=self._task, modalities=self._stage.modalities, size=size)


def _serves(clip: Clip, task: TaskConfig) -> bool:
    """Whether the clip teaches or tests a task; people who are not trained on can still be told apart."""
    return label_of(clip, task) is not None or (task.kind == "identity" and clip.speaker is not None)


def _has_trained_view(task: TaskConfig, stage: StageConfig, config: ExperimentConfig) -> bool:
    """Whether the stage trains a head of the task: a label without one is no reason to draw a clip."""
    all_modalities = config.model.modalities
    views = (VOTE, *all_modalities) if task.views is None else task.views
    return bool(trained_views(views, stage.modalities, all_modalities))
