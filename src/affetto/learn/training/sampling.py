"""Which clips an epoch sees, and in which batches: a pure function of (seed, stage, epoch).

Its whole state is a number, the epoch, so that a run can be taken up at any batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from affetto.learn.config import TaskConfig
from affetto.learn.losses.balance import inverse_frequency
from affetto.learn.training.targets import label_of
from affetto.records import Clip

#: Batches whose clips are sorted by length together: enough to save padding, few enough to stay random.
BUCKET_BATCHES = 8


def shares(
    clips: Sequence[Clip], task: TaskConfig, balance: float, corpus_weights: Mapping[str, float]
) -> dict[tuple[str, str], tuple[float, list[int]]]:
    """Strata (corpus, class) with their share of the draw and the indices of their clips.

    A corpus is drawn in proportion to its size times its weight. Within it, a class is drawn as it comes
    (`balance` 0), as often as every other class (1), or in between. Balancing inside the corpora, not across
    them, keeps the corpus from giving the class away. Clips without the label are a class of their own.
    """
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    rarity = _label_counts(clips, task)
    for i, clip in enumerate(clips):
        members[clip.corpus or "", _class_of(clip, task, rarity)].append(i)
    result = {}
    for corpus in sorted({key[0] for key in members}):
        keys = sorted(key for key in members if key[0] == corpus)
        counts = np.array([len(members[key]) for key in keys], dtype=np.float64)
        drawn = counts * inverse_frequency(counts) ** balance
        drawn *= corpus_weights.get(corpus, 1.0) * counts.sum() / drawn.sum()
        result.update({key: (float(share), members[key]) for key, share in zip(keys, drawn, strict=True)})
    return result


def draw(
    strata: Mapping[tuple[str, str], tuple[float, list[int]]], size: int, rng: np.random.Generator
) -> list[int]:
    """`size` indices in random order: each stratum its share to within one, no clip twice before all once."""
    keys = sorted(strata)
    edges = np.cumsum([strata[key][0] for key in keys])
    points = (rng.random() + np.arange(size)) / size * edges[-1]
    counts = np.bincount(
        np.minimum(np.searchsorted(edges, points, side="right"), len(keys) - 1), minlength=len(keys)
    )
    chosen: list[int] = []
    for key, count in zip(keys, counts, strict=True):
        members = np.asarray(strata[key][1])
        rounds = -(-int(count) // len(members))
        shuffled = [rng.permutation(members) for _ in range(rounds)]
        chosen.extend(np.concatenate(shuffled)[:count].tolist() if shuffled else [])
    return [chosen[i] for i in rng.permutation(len(chosen))]


def bucket(lengths: Sequence[int], batch_size: int, rng: np.random.Generator) -> list[list[int]]:
    """Positions 0..len-1 in batches of like length: sorted within a few batches, batches in random order.

    A last batch that is not full stays.
    """
    window = batch_size * BUCKET_BATCHES
    batches: list[list[int]] = []
    for start in range(0, len(lengths), window):
        stop = min(start + window, len(lengths))
        ordered = sorted(range(start, stop), key=lambda i: lengths[i])
        batches.extend(ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size))
    return [batches[i] for i in rng.permutation(len(batches))]


def epoch_size(clips: int, batch_size: int) -> int:
    """Draws per epoch: at least every clip's worth, in whole batches (a batch of one starves batch norms)."""
    return clips if clips <= batch_size else -(-clips // batch_size) * batch_size


def _label_counts(clips: Sequence[Clip], task: TaskConfig) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for clip in clips:
        label = label_of(clip, task)
        for name in (label,) if isinstance(label, str) else label if isinstance(label, tuple) else ():
            counts[name] += 1
    return counts


def _class_of(clip: Clip, task: TaskConfig, rarity: Mapping[str, int]) -> str:
    label = label_of(clip, task)
    if isinstance(label, tuple) and label:
        return min(label, key=lambda name: (rarity[name], name))  # the rarest is what the clip is needed for
    if isinstance(label, Mapping) and label:
        return max(label, key=lambda name: label[name])
    return label if isinstance(label, str) else ""
