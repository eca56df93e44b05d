"""Corpora, who is held out, and what training does to media."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from affetto.learn.config.ranges import NotNegative, Positive, Share, Whole
from affetto.learn.settings import Range


@dataclass(frozen=True)
class CorpusConfig:
    """One corpus of the mixture: its reader (a name in `data.corpora`), its folder, its share of the draw.

    max_seconds: cuts every clip of the corpus in training: where only some classes are truncated, a model
                 would otherwise learn the cut.
    options:     the reader's own, like XED's languages.
    tasks:       the tasks that its labels serve; None is all of them.
    """

    reader: str
    path: str
    weight: Positive = 1.0
    max_seconds: Positive | None = None
    tasks: tuple[str, ...] | None = None
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    test_split: str | None = None


@dataclass(frozen=True)
class AugmentConfig:
    """What training does to the media of a clip. Probabilities are per clip; 0 switches a thing off."""

    noise_probability: Share = 0.5
    snr_low: float = 5.0  # dB
    snr_high: float = 30.0  # dB
    gain_db: NotNegative = 6.0  # uniform in +-gain_db
    speed_probability: Share = 0.5
    speed_range: tuple[Positive, Positive] = (0.9, 1.1)
    reverb_probability: Share = 0.3
    crop_seconds: tuple[Positive, Positive] = (1.5, 4.0)  # length of the random crop, drawn uniformly
    word_dropout: Share = 0.1
    flip: Share = 0.5
    image_shift: Share = 0.1  # of the picture's side
    image_rotation: NotNegative = 0.0  # degrees, uniform in +-image_rotation
    image_scale: NotNegative = 0.0  # at most this much larger, or as much smaller
    image_blur: NotNegative = 0.0  # pixels, the widest Gaussian; its deviation is drawn from 0 on
    image_erase: Share = 0.25
    image_contrast: Share = 0.3


@dataclass(frozen=True)
class DataConfig:
    """Corpora, who is held out, and augmentation. All splits are by speaker.

    root:       the folder that the corpora's paths start from.
    reserved:   corpus to speakers who are never trained on.
    validation: share of the speakers (or clips, where there are no speakers) kept for validation.
    folds/fold: hold out fold `fold` (from 0) of every speech corpus's speakers as the split "test".
    fold_by:    what a fold holds out instead; of "speaker+sentence" there are `folds` times `folds`.
    hold_out:   a whole corpus as the split "test".
    allow_leaks: codes of leaks that training goes on with, such as "speaker_leak": where a corpus's official
                splits share speakers. The card of the bundle tells it.
    """

    root: str = "."
    corpora: tuple[CorpusConfig, ...] = ()
    reserved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    validation: Share = 0.1
    folds: Annotated[int, Range(2)] | None = None
    fold: Whole | None = None
    fold_by: Literal["speaker", "session", "sentence", "speaker+sentence"] = "speaker"
    hold_out: str | None = None
    allow_leaks: tuple[str, ...] = ()
    augment: AugmentConfig = field(default_factory=AugmentConfig)
