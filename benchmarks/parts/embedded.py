"""Clips as the published speech embedding hears them, each once as it is and some times varied: it is frozen, so it
hears everything before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from affetto.features.spectral import RATE
from affetto.learn.config import FeaturesConfig, ModelConfig, SpecAugmentConfig, SpeechConfig
from affetto.learn.experiments.digits import digits
from affetto.learn.models.build import build_recogniser
from affetto.learn.models.recogniser import Recogniser
from affetto.learn.training.augmentation import augment_speech
from affetto.records import Track

VERSIONS = 6  # of a clip: as it is, and varied
EMBEDDED = 96  # values of an embedding


@dataclass(frozen=True)
class Embedded:
    """Clips as the published embedding hears them: for each clip its versions [T 96], the first as it is."""

    versions: list[list[Tensor]]

    @staticmethod
    def of(
        waveforms: Sequence[np.ndarray], weights: Path, *, versions: int = VERSIONS, seconds: float = 1.0
    ) -> Embedded:
        """Hear clips, at most `seconds` of each varied one."""
        encoder = _embedding(weights)
        augment, rng = replace(digits().data.augment, noise_probability=0.5), np.random.default_rng(0)

        def heard(waveform: np.ndarray) -> Tensor:
            values = torch.from_numpy(waveform)[None]
            with torch.inference_mode():
                return encoder(Track(values, torch.ones_like(values, dtype=torch.bool))).values[0].clone()

        def varied(waveform: np.ndarray) -> np.ndarray:
            stored = np.round(waveform * 32767).astype(np.int16)
            # Babble is made of the clip itself: of others it would be of people who are held out.
            return augment_speech(stored, round(RATE * seconds), augment, rng, lambda _: waveform)[0]

        return Embedded([[heard(w), *(heard(varied(w)) for _ in range(versions - 1))] for w in waveforms])

    def as_they_are(self, rows: Tensor) -> Track:
        return padded([self.versions[i][0] for i in rows.tolist()])

    def varied(self, rows: Tensor) -> Track:
        which = torch.randint(len(self.versions[0]), rows.shape)
        return padded([self.versions[i][k] for i, k in zip(rows.tolist(), which.tolist(), strict=True)])

    def build(self, config: ModelConfig) -> Recogniser:
        features = {"speech": FeaturesConfig(EMBEDDED, layers=0)}
        return build_recogniser(replace(config, speech=None, features=features))


def _embedding(weights: Path) -> nn.Module:
    """The published network as it is: no projection, no dropout."""
    still = SpecAugmentConfig(frequency_masks=0, time_masks=0, warp=0.0)
    speech = SpeechConfig("speech_embedding", weights=str(weights), specaugment=still)
    return build_recogniser(ModelConfig(dim=EMBEDDED, speech=speech)).eval().encoders["speech"]


def padded(items: Sequence[Tensor]) -> Track:
    """Sequences [T F] of unlike lengths as one Track."""
    values = nn.utils.rnn.pad_sequence(list(items), batch_first=True)
    mask = torch.arange(values.shape[1])[None] < torch.tensor([len(item) for item in items])[:, None]
    return Track(values, mask)
