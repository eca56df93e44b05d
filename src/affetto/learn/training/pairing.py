"""Clips of one emotion made into one clip: how a fused path is trained where nobody recorded the pairs.

Speech, text and face that share a label are independent given that label, so such pairs teach how far to
trust each modality and nothing about how they go together. Nothing scripted enters as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from affetto.errors import DataError
from affetto.learn.config import TaskConfig
from affetto.learn.training.targets import single_label
from affetto.records import MODALITIES, Clip


def words_as_text(clip: Clip) -> Clip:
    """The clip; its words are its text where it has no other."""
    text = " ".join(word.text for word in clip.words)
    return replace(clip, text=text) if clip.text is None and text.strip() else clip


def only_evidence(clip: Clip, modalities: Sequence[str]) -> Clip:
    """The clip with nothing but these modalities, and without words that were given to the speaker."""
    clip = words_as_text(clip)
    kept = [name for name in clip.modalities() if name in modalities]
    return _keep(clip, kept)


def drop_modalities(clip: Clip, probability: float, rng: np.random.Generator) -> Clip:
    """With `probability`, the clip keeps a random proper subset of its modalities; every subset is as likely.

    Neverova et al. 2016, "ModDrop", for whole subsets rather than single channels.
    """
    present = clip.modalities()
    dropped = rng.random() < probability  # drawn even when nothing can be dropped: one draw per clip
    subsets = 2 ** len(present) - 2
    chosen = 1 + int(rng.integers(max(subsets, 1)))
    if not dropped or subsets == 0:
        return clip
    return _keep(clip, [name for i, name in enumerate(present) if chosen >> i & 1])


def pair_by_label(
    clips: Sequence[Clip],
    rng: np.random.Generator,
    *,
    task: TaskConfig,
    modalities: Sequence[str] = MODALITIES,
    size: int | None = None,
) -> list[Clip]:
    """Clips with all `modalities`, composed of clips with the same class of `task`; classes in equal numbers.

    A clip that itself brings several modalities keeps them together, and its words their times, which text
    beside the speech of another clip has not. A class for which a modality has no clip
    gives clips without that modality. `size` is the number wanted; by default that of the rarest modality's
    clips. Clips without one clear class are not used. Raises DataError `nothing_to_predict` when none is
    left.
    """
    pools = _pools(clips, task, modalities)
    if not pools:
        wanted = f"no clip has one clear {task.name} and any of {', '.join(modalities)}"
        raise DataError("nothing_to_predict", f"{wanted}: label-consistent pairs cannot be composed")
    size = _rarest(pools, modalities) if size is None else size
    classes = sorted(pools)
    start = int(rng.integers(len(classes)))  # who gets the remainder changes from one call to the next
    wanted_classes = [classes[(start + i) % len(classes)] for i in range(max(size, 1))]
    cursors = {(label, name): _Deck(pool, rng) for label in classes for name, pool in pools[label].items()}
    return [_compose(label, cursors, task, modalities) for label in wanted_classes]


def pair_count(clips: Sequence[Clip], task: TaskConfig, modalities: Sequence[str] = MODALITIES) -> int:
    """How many pairs use up the rarest modality's clips: what `pair_by_label` gives unless told otherwise."""
    pools = _pools(clips, task, modalities)
    return _rarest(pools, modalities) if pools else 0


class _Deck:
    """A pool dealt like cards: shuffled, every clip once before any twice."""

    def __init__(self, pool: Sequence[Clip], rng: np.random.Generator) -> None:
        self._pool, self._rng = pool, rng
        self._order: list[int] = []

    def deal(self) -> Clip:
        if not self._order:
            self._order = self._rng.permutation(len(self._pool)).tolist()
        return self._pool[self._order.pop()]


def _pools(
    clips: Sequence[Clip], task: TaskConfig, modalities: Sequence[str]
) -> dict[str, dict[str, list[Clip]]]:
    pools: dict[str, dict[str, list[Clip]]] = {}
    for clip in clips:
        label = single_label(clip, task)
        for name in clip.modalities() if label is not None else ():
            if label is not None and name in modalities:
                pools.setdefault(label, {}).setdefault(name, []).append(clip)
    return pools


def _rarest(pools: dict[str, dict[str, list[Clip]]], modalities: Sequence[str]) -> int:
    counts = [sum(len(pool.get(name, ())) for pool in pools.values()) for name in modalities]
    return min(count for count in counts if count)


def _compose(
    label: str, decks: dict[tuple[str, str], _Deck], task: TaskConfig, modalities: Sequence[str]
) -> Clip:
    parts: dict[str, Clip] = {}
    for name in modalities:
        if name in parts or (label, name) not in decks:
            continue
        clip = decks[label, name].deal()
        parts.update(
            {other: clip for other in clip.modalities() if other in modalities and other not in parts}
        )
    speech, text, vision = (parts.get(name) for name in MODALITIES)
    first = next(iter(parts.values()))
    timed = speech or first
    return Clip(
        id="+".join(dict.fromkeys(clip.id for clip in parts.values())),
        speech=speech.speech if speech else None,
        text=text.text if text else None,
        vision=vision.vision if vision else None,
        features={name: clip.features[name] for name, clip in parts.items() if name in clip.features},
        start=timed.start,
        end=timed.end,
        words=text.words if text is not None and text is speech else (),
        speaker=timed.speaker,
        gender=timed.gender,
        language=(text or timed).language,
        labels={task.name: label},
        split=first.split,
        corpus=timed.corpus,
    )


def _keep(clip: Clip, names: Sequence[str]) -> Clip:
    return replace(
        clip,
        speech=clip.speech if "speech" in names else None,
        text=clip.text if "text" in names else None,
        vision=clip.vision if "vision" in names else None,
        words=clip.words if "text" in names else (),
        features={name: source for name, source in clip.features.items() if name in names},
    )
