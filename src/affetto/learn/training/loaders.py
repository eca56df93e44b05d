"""Clips to Batches: cut, augment, pad, and say what is real.

A batch is a pure function of its plan, so worker processes, prefetching and resuming change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from affetto.learn.config import AugmentConfig, TaskConfig
from affetto.learn.training.augmentation import RATE, Stretch, augment_image, augment_speech, drop_words
from affetto.learn.training.media_cache import MediaCache, as_float
from affetto.learn.training.pairing import words_as_text
from affetto.learn.training.randomness import generator
from affetto.learn.training.targets import targets_of
from affetto.records import Batch, Clip, Track

#: No speech track is shorter, so that every front end has a frame to start with.
_SHORTEST_SAMPLES = RATE // 10

_PAD = 0


@dataclass(frozen=True)
class BatchPlan:
    """The clips of a batch; `epoch` and the place of the first one, `first`, name its randomness."""

    clips: tuple[Clip, ...]
    epoch: int = 0
    first: int = 0


@dataclass(frozen=True)
class Augmentation:
    """How the clips of a stage are changed, and `voices`, whose speech may be heard behind another's.

    max_seconds: corpus to the longest stretch of its clips that training may hear.
    unknown: the id of the token that a dropped word becomes; special: the ids that are no words.
    """

    config: AugmentConfig
    seed: int
    stage: str
    voices: tuple[Clip, ...] = ()
    max_seconds: Mapping[str, float] = field(default_factory=dict)
    unknown: int = 0
    special: tuple[int, ...] = ()


class Answered(Protocol):
    """Further targets of clips, given what is heard of each, such as a teacher's answers: name to values [B ...],
    and their mask [B]."""

    def targets(
        self, clips: Sequence[Clip], heard: Sequence[Stretch]
    ) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_]]: ...


class BatchBuilder(Dataset[Batch]):
    """Maps a BatchPlan to its Batch; plain reading, from the start of the clip, without an Augmentation.

    Where a clip has words with times, the text's Track has `times`, on the clock of the speech beside it.
    """

    def __init__(
        self,
        cache: MediaCache,
        tasks: Sequence[TaskConfig],
        augmentation: Augmentation | None = None,
        answers: Sequence[Answered] = (),
    ) -> None:
        self._cache, self._tasks, self._augmentation = cache, tuple(tasks), augmentation
        self._answers = answers

    def __getitem__(self, plan: BatchPlan) -> Batch:
        plan = replace(plan, clips=tuple(words_as_text(clip) for clip in plan.clips))
        clips = plan.clips
        there = {name: [name in clip.modalities() for clip in clips] for name in self._cache.modalities}
        there = {name: rows for name, rows in there.items() if any(rows)}
        present = {name: rows for name, rows in there.items() if name in self._cache.media}
        rngs = self._generators(plan)
        inputs = {
            name: self._features(clips, name, rows) for name, rows in there.items() if name not in present
        }
        heard: Sequence[Stretch] = [Stretch()] * len(clips)
        if "speech" in present:
            inputs["speech"], heard = self._speech(plan, present["speech"], rngs)
        if "text" in present:
            inputs["text"] = self._text(plan, present["text"], rngs, heard)
        if "vision" in present:
            inputs["vision"] = self._vision(plan, present["vision"], rngs)
        targets = {task.name: targets_of(clips, task) for task in self._tasks}
        for source in self._answers:
            answers, answered = source.targets(clips, heard)
            targets.update({name: (values, answered) for name, values in answers.items()})
        return Batch(
            inputs=inputs,
            targets={name: torch.from_numpy(values) for name, (values, _) in targets.items()},
            target_mask={name: torch.from_numpy(mask) for name, (_, mask) in targets.items()},
            ids=tuple(clip.id for clip in clips),
        )

    def _generators(self, plan: BatchPlan) -> list[np.random.Generator]:
        if self._augmentation is None:
            return []
        seed, stage = self._augmentation.seed, self._augmentation.stage
        return [generator(seed, stage, "clip", plan.epoch, plan.first + i) for i in range(len(plan.clips))]

    def _speech(
        self, plan: BatchPlan, present: Sequence[bool], rngs: list[np.random.Generator]
    ) -> tuple[Track, Sequence[Stretch]]:
        clips, augmentation = plan.clips, self._augmentation
        if augmentation is None:
            rows = [
                self._cache.window(clip) if there else None
                for clip, there in zip(clips, present, strict=True)
            ]
            return _padded_speech(rows), [Stretch()] * len(rows)
        # One length for the whole batch: rows that are long enough need no padding at all.
        seconds = generator(augmentation.seed, augmentation.stage, "crop", plan.epoch, plan.first).uniform(
            *augmentation.config.crop_seconds
        )
        made = [
            self._augmented_speech(clip, float(seconds), augmentation, rng) if p else (None, Stretch())
            for clip, p, rng in zip(clips, present, rngs, strict=True)
        ]
        return _padded_speech([waveform for waveform, _ in made]), [stretch for _, stretch in made]

    def _augmented_speech(
        self, clip: Clip, seconds: float, augmentation: Augmentation, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Stretch]:
        def voice(rng: np.random.Generator) -> NDArray[np.float32]:
            if not augmentation.voices:
                return np.zeros(1, dtype=np.float32)
            return as_float(
                self._cache.speech(augmentation.voices[int(rng.integers(len(augmentation.voices)))])
            )

        limit = augmentation.max_seconds.get(clip.corpus or "", seconds)
        samples = round(min(seconds, limit) * RATE)
        return augment_speech(self._cache.speech(clip), samples, augmentation.config, rng, voice)

    def _text(
        self,
        plan: BatchPlan,
        present: Sequence[bool],
        rngs: list[np.random.Generator],
        heard: Sequence[Stretch],
    ) -> Track:
        rows = [self._cache.tokens(clip) if p else None for clip, p in zip(plan.clips, present, strict=True)]
        if self._augmentation is not None and self._augmentation.config.word_dropout > 0.0:
            probability = self._augmentation.config.word_dropout
            unknown, special = self._augmentation.unknown, self._augmentation.special
            rows = [
                None if row is None else drop_words(row, probability, unknown, rng, special)
                for row, rng in zip(rows, rngs, strict=True)
            ]
        longest = max(len(row) for row in rows if row is not None)
        track = _track(np.full((len(rows), longest), _PAD, dtype=np.int64), rows)
        said = [self._cache.times(clip) if p else None for clip, p in zip(plan.clips, present, strict=True)]
        return replace(track, times=_times(said, heard, longest))

    def _features(self, clips: Sequence[Clip], name: str, present: Sequence[bool]) -> Track:
        """Features [B T D] and their mask; nothing is done to them, dropout aside."""
        rows = [
            self._cache.features(clip, name) if p else None for clip, p in zip(clips, present, strict=True)
        ]
        found = [row for row in rows if row is not None]
        shape = len(rows), max(len(row) for row in found), found[0].shape[1]
        values, mask = np.zeros(shape, dtype=np.float32), np.zeros(shape[:2], dtype=np.bool_)
        for i, row in enumerate(rows):
            if row is not None:
                values[i, : len(row)], mask[i, : len(row)] = row, True
        return Track(torch.from_numpy(values), torch.from_numpy(mask))

    def _vision(self, plan: BatchPlan, present: Sequence[bool], rngs: list[np.random.Generator]) -> Track:
        size = self._cache.face(plan.clips[present.index(True)]).shape[-1]
        values = np.zeros((len(present), 1, 3, size, size), dtype=np.float32)
        for i, (clip, there) in enumerate(zip(plan.clips, present, strict=True)):
            if there:
                face = self._cache.face(clip)
                augmentation = self._augmentation
                values[i, 0] = (
                    face if augmentation is None else augment_image(face, augmentation.config, rngs[i])
                )
        return Track(torch.from_numpy(values), torch.tensor(present)[:, None])


def make_loader(builder: BatchBuilder, plans: Sequence[BatchPlan], workers: int = 0) -> DataLoader[Batch]:
    """The batches of `plans`, in their order; `workers` processes build them ahead of time."""
    # A Generator of its own, or starting the loader would advance torch's.
    return DataLoader(
        builder,
        sampler=plans,
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_is,
        generator=torch.Generator(),
    )


def text_length(cache: MediaCache, clip: Clip) -> int:
    """Tokens of a clip; 0 without text."""
    return len(cache.tokens(clip)) if "text" in clip.modalities() and "text" in cache.media else 0


def reading_plans(
    cache: MediaCache, clips: Sequence[Clip], batch_size: int
) -> tuple[list[BatchPlan], list[int]]:
    """Plans that read every clip once, like lengths together, and the index of the clip behind each row."""
    keys = [(_samples(cache, clip), text_length(cache, clip)) for clip in clips]
    order = sorted(range(len(clips)), key=lambda i: (clips[i].modalities(), keys[i]))
    plans = [
        BatchPlan(tuple(clips[i] for i in order[start : start + batch_size]))
        for start in range(0, len(order), batch_size)
    ]
    return plans, order


def move(batch: Batch, device: torch.device | str) -> Batch:
    """The batch on a device."""
    return Batch(
        inputs={
            name: Track(
                track.values.to(device),
                track.mask.to(device),
                None if track.times is None else track.times.to(device),
            )
            for name, track in batch.inputs.items()
        },
        targets={name: values.to(device) for name, values in batch.targets.items()},
        target_mask={name: mask.to(device) for name, mask in batch.target_mask.items()},
        ids=batch.ids,
    )


def _samples(cache: MediaCache, clip: Clip) -> int:
    return len(cache.speech(clip)) if clip.speech is not None and "speech" in cache.media else 0


def _padded_speech(rows: Sequence[NDArray[np.float32] | None]) -> Track:
    longest = max(_SHORTEST_SAMPLES, *(len(row) for row in rows if row is not None))
    return _track(np.zeros((len(rows), longest), dtype=np.float32), rows)


def _track(values: NDArray[np.generic], rows: Sequence[NDArray[np.generic] | None]) -> Track:
    mask = np.zeros(values.shape, dtype=np.bool_)
    for i, row in enumerate(rows):
        if row is not None:
            values[i, : len(row)] = row
            mask[i, : len(row)] = True
    return Track(torch.from_numpy(values), torch.from_numpy(mask))


def _times(
    rows: Sequence[NDArray[np.float32] | None], heard: Sequence[Stretch], longest: int
) -> torch.Tensor | None:
    """Times [B T] of what is heard, NaN where unknown; None where no row has any."""
    if all(row is None for row in rows):
        return None
    times = np.full((len(rows), longest), np.nan, dtype=np.float32)
    for i, row in enumerate(rows):
        if row is not None:
            times[i, : len(row)] = heard[i].times(row)
    return torch.from_numpy(times)


def _as_is(batch: Any) -> Any:
    return batch
