"""Hints: what a published network finds in the speech of a stage, step by step, as targets beside the labels.

Romero et al. 2015, "FitNets: Hints for Thin Deep Nets". The network hears every clip once, before the stage and as
the clip is. What augmentation then does to the clip, cutting it, making it faster, louder, noisy, the encoder that
learns is to see through: hints move in time with what is heard of the clip, and stay what they are.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from affetto.errors import DataError
from affetto.files import write_whole
from affetto.learn import ranks
from affetto.learn.config import HintConfig, ModelConfig, SpeechConfig
from affetto.learn.models.build import build_recogniser
from affetto.learn.training.augmentation import Stretch
from affetto.learn.training.media_cache import ClipKey, MediaCache, as_float
from affetto.records import Clip, Track

#: Under which name the hints stand among the targets of a batch.
HINT = "speech.hint"
#: Seconds from hint to hint, and where the first one stands.
STEP, FIRST = 0.08, 0.0125
#: Values of a hint: the width of `SpeechEmbedding.inner`.
WIDTH = 312
_LEAST_DEVIATION = 1e-3
_ROUNDING = (
    1e-3  # steps: times in fp32 that stand on a hint, or halfway, are not to fall to either side by chance
)


@dataclass(frozen=True)
class Hints:
    """Hints of N clips: `rows` has those of a clip, [T K], each of the K with mean 0 and deviation 1 over all."""

    rows: Mapping[ClipKey, NDArray[np.float16]]

    def targets(
        self, clips: Sequence[Clip], heard: Sequence[Stretch]
    ) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_]]:
        """Hints [B T K] every 0.08 s of what is heard of each clip, NaN behind its end, which the last step lies
        behind for all; and the rows that have any."""
        found = [self.rows.get((clip.corpus, clip.id)) for clip in clips]
        moved = [None if row is None else _moved(row, part) for row, part in zip(found, heard, strict=True)]
        longest = max((len(row) for row in moved if row is not None), default=1)
        values = np.full((len(clips), longest + 1, WIDTH), np.nan, dtype=np.float32)
        for i, row in enumerate(moved):
            if row is not None:
                values[i, : len(row)] = row
        return {HINT: values}, np.array([row is not None for row in found])


class HintHead(nn.Module):
    """From the steps of the encoder that learns to the hints; it ends with the stage."""

    def __init__(self, dim: int, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.out = nn.Linear(dim, WIDTH)

    def forward(self, track: Track, hints: Tensor) -> Tensor:
        """`weight` times the smooth L1 distance of what it tells from Track [B T D] to the nearest of the hints
        [B T' K], of which the last is none: mean over the steps that have one."""
        assert track.times is not None
        places = ((track.times - FIRST) / STEP + 0.5 + _ROUNDING).floor().long().clamp(0, hints.shape[1] - 1)
        wanted = hints.gather(1, places[..., None].expand(-1, -1, hints.shape[2]))
        asked = track.mask & ~wanted[..., 0].isnan()
        told = self.out(track.values)
        error = functional.smooth_l1_loss(told, torch.nan_to_num(wanted), reduction="none").mean(dim=-1)
        return self.weight * ranks.summed((error * asked).sum()) / ranks.summed(asked.sum()).clamp(min=1)


def listen(
    config: HintConfig,
    clips: Sequence[Clip],
    cache: MediaCache,
    keep: Path,
    wrap: Callable[[Sequence[Clip]], Iterable[Clip]] = iter,
) -> Hints:
    """The hints of the clips that have speech, kept in the file `keep`: a resumed run reads them.

    `wrap` may show progress. Raises ConfigError `config_invalid` when `config.weights` is not the network, and
    DataError `nothing_to_predict` when no clip has speech.
    """
    spoken = [clip for clip in clips if clip.speech is not None]
    if not spoken:
        raise DataError("nothing_to_predict", "no training clip of the stage has speech to take hints from")
    if not keep.exists():
        network = _network(config.weights)
        rows = [_heard(network, as_float(cache.speech(clip))) for clip in wrap(spoken)]
        buffer = io.BytesIO()
        np.savez(buffer, hints=_standardised(np.concatenate(rows)), lengths=[len(row) for row in rows])
        write_whole(keep, buffer.getvalue())
    with np.load(keep) as stored:
        parts = np.split(stored["hints"], np.cumsum(stored["lengths"])[:-1])
    return Hints({(clip.corpus, clip.id): row for clip, row in zip(spoken, parts, strict=True)})


def _network(weights: str) -> Any:
    config = ModelConfig(speech=SpeechConfig("speech_embedding", weights=weights))
    return build_recogniser(config).eval().encoders["speech"]


def _heard(network: Any, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    values = torch.from_numpy(waveform)[None]
    with torch.inference_mode():
        track = network.inner(Track(values, torch.ones_like(values, dtype=torch.bool)))
    return track.values[0, track.mask[0]].numpy()


def _standardised(values: NDArray[np.float32]) -> NDArray[np.float16]:
    deviation = np.maximum(values.std(axis=0), _LEAST_DEVIATION)
    return ((values - values.mean(axis=0)) / deviation).astype(np.float16)


def _moved(row: NDArray[np.float16], heard: Stretch) -> NDArray[np.float32]:
    """Hints [T K] of a clip on the clock of what is heard of it [T' K], interpolated."""
    ends = len(row) - 1
    last = min((ends * STEP - heard.start) / heard.speed, heard.seconds) / STEP
    count = max(0, int(last + _ROUNDING)) + 1
    steps = heard.source(FIRST + STEP * np.arange(count, dtype=np.float32))
    places = np.clip((steps - FIRST) / STEP, 0, ends)
    low = places.astype(np.intp)
    share = (places - low)[:, None].astype(np.float32)
    return row[low] * (1 - share) + row[np.minimum(low + 1, ends)] * share
