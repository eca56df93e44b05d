"""Whether the exported parts say what the model says: differences, agreement, sizes and speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from time import thread_time
from typing import Any

import numpy as np
import torch

from affetto.errors import TrainingError
from affetto.evaluation.metrics import uar
from affetto.learn.export.onnx import named
from affetto.learn.export.parts import Inputs, Parts, padded, subsets
from affetto.learn.models.recogniser import VOTE, Recogniser
from affetto.predictor import EMOTION
from affetto.records import Track

TOLERANCE = 1e-4  # of logits and weights, fp32 ONNX against torch
_ROUNDS = 9
_BATCH = 4
_SECONDS = 3.0  # about what the longest random speech lasts
_UNKNOWN = 0.1  # share of random times that are NaN, as those of tokens that no word has


def random_items(
    count: int,
    *,
    modalities: Sequence[str],
    vocabulary: int,
    picture: int,
    features: Mapping[str, int] | None = None,
    seed: int = 0,
) -> list[Inputs]:
    """Items of noise and of unlike lengths, each with all modalities: to compare two forms of one model.

    `features` maps the modalities that are precomputed to their values per step.
    """
    rng = np.random.default_rng(seed)
    makers: dict[str, Callable[[], np.ndarray]] = {
        "speech": lambda: rng.normal(0, 0.1, int(rng.integers(800, 40_000))).astype(np.float32),
        "text": lambda: rng.integers(0, vocabulary, int(rng.integers(1, 40))),
        "vision": lambda: rng.random((int(rng.integers(1, 4)), 3, picture, picture), dtype=np.float32),
    }
    makers |= {name: partial(_random_features, rng, size) for name, size in (features or {}).items()}
    return [{name: makers[name]() for name in modalities} for _ in range(count)]


def _random_features(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.normal(size=(int(rng.integers(1, 40)), size)).astype(np.float32)


def compare_with_torch(
    model: Recogniser, parts: Mapping[str, bytes], items: Sequence[Inputs]
) -> dict[str, Any]:
    """The largest difference of any output between fp32 parts and the model, alone and in batches of unlike
    lengths, over all subsets of modalities; where the fusion reads times, once without and once with them.

    Raises TrainingError `parity_failed` above `TOLERANCE`.
    """
    runner = Parts(parts)
    rng = np.random.default_rng(0)
    differences = []
    batches = [[item] for item in items] + [items[i : i + _BATCH] for i in range(0, len(items), _BATCH)]
    asked = subsets(runner.modalities)
    for place, batch in enumerate(batches):
        subset = asked[place % len(asked)]
        raw = {name: padded([item[name] for item in batch]) for name in subset}
        with torch.inference_mode():
            inputs = {n: Track(torch.from_numpy(v), torch.from_numpy(m)) for n, (v, m) in raw.items()}
            tracks = model.encode(inputs)
        encoded = {name: runner.encode(name, *track) for name, track in raw.items()}
        differences.append(_difference(model, runner, tracks, encoded))
        if getattr(model.fusion, "timed", ()):
            times = {name: _times(track, rng) for name, track in tracks.items()}
            tracks = {n: replace(t, times=torch.from_numpy(times[n])) for n, t in tracks.items()}
            encoded = {name: replace(track, times=times[name]) for name, track in encoded.items()}
            differences.append(_difference(model, runner, tracks, encoded))
    worst = float(np.max(differences))  # unlike Python's, this maximum does not lose a NaN
    if not worst <= TOLERANCE:  # also when it is NaN
        raise TrainingError(
            "parity_failed",
            f"ONNX differs from torch by {worst:.2g}, at most {TOLERANCE:g} is allowed: do not ship it",
        )
    return {
        "inputs": len(items),
        "batches": len(batches),
        "max_abs_difference": worst,
        "tolerance": TOLERANCE,
    }


def compare_precisions(
    fp32: Mapping[str, bytes],
    int8: Mapping[str, bytes],
    items: Sequence[Inputs],
    truth: Sequence[int] | None = None,
    *,
    task: str = EMOTION,
) -> dict[str, Any]:
    """int8 against fp32 on the same items, each alone: per subset of modalities how often the class of `task`
    agrees, the largest difference of a probability and, given the true classes, UAR in both; sizes; speed per
    part.
    """
    runners = Parts(fp32), Parts(int8)
    tracks = [runner.encode_items(items) for runner in runners]
    by_subset = {}
    for subset in subsets(runners[0].modalities):
        rows = [row for row, item in enumerate(items) if all(name in item for name in subset)]
        if rows:
            full, small = (
                np.stack([_said(runner, task, {name: encoded[row][name] for name in subset}) for row in rows])
                for runner, encoded in zip(runners, tracks, strict=True)
            )
            true = None if truth is None else [truth[row] for row in rows]
            by_subset["+".join(subset)] = _agreement(full, small, true)
    return {
        "subsets": by_subset,
        "bytes": {
            n: {"fp32": len(fp32[n]), "int8": len(int8[n]), "ratio": len(int8[n]) / len(fp32[n])}
            for n in fp32
        },
        "times_faster": _speed(*runners, items),
    }


def _times(track: Track, rng: np.random.Generator) -> np.ndarray:
    """Times [B T] that its encoder gave an encoded Track, else random ones in order, some of them unknown."""
    if track.times is not None:
        return np.ascontiguousarray(track.times.numpy())
    times = np.sort(rng.uniform(0, _SECONDS, track.mask.shape), axis=1)
    return np.where(rng.random(times.shape) < _UNKNOWN, np.nan, times).astype(np.float32)


def _difference(
    model: Recogniser, runner: Parts, tracks: Mapping[str, Track], encoded: Mapping[str, Track]
) -> float:
    """The largest between what the model and the fusion part say of Tracks that each has encoded."""
    with torch.inference_mode():
        expected = named(model.fuse(tracks))
    found = runner.fuse(encoded)
    return float(np.max([np.abs(found[name] - value.numpy()).max() for name, value in expected.items()]))


def _said(runner: Parts, task: str, tracks: Mapping[str, Track]) -> np.ndarray:
    logits = runner.fuse(tracks)[f"{task}.{VOTE}"][0].astype(np.float64)
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def _agreement(fp32: np.ndarray, int8: np.ndarray, truth: Sequence[int] | None) -> dict[str, float]:
    answers = fp32.argmax(axis=1), int8.argmax(axis=1)
    found = {
        "n": len(fp32),
        "agreement": float(np.mean(answers[0] == answers[1])),
        "max_abs_difference": float(np.abs(fp32 - int8).max()),
    }
    if truth is None:
        return found
    targets = np.asarray(truth)
    return {**found, "uar_fp32": uar(targets, answers[0]), "uar_int8": uar(targets, answers[1])}


def _speed(fp32: Parts, int8: Parts, items: Sequence[Inputs]) -> dict[str, float]:
    """Median time of fp32 over that of int8 per encoder, in turns, in time of this thread alone."""
    ratios = {}
    for name in fp32.modalities:
        item = next((padded([item[name]]) for item in items if name in item), None)
        if item is None:
            continue
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(_ROUNDS):
            for runner, spent in zip((fp32, int8), times, strict=True):
                began = thread_time()
                runner.encode(name, *item)
                spent.append(thread_time() - began)
        ratios[name] = float(np.median(times[0]) / max(float(np.median(times[1])), 1e-9))
    return ratios
