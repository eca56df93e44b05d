"""Digits heard, seen and written, in one space: say a number and find its picture.

    affetto train digits --set data.root=DIR

DIR holds `fsdd/` and `mnist/` (see `data/corpora/digits.py`). Some minutes on one CPU core. How it is measured on
people and pictures that it never met: docs/alignment.md.
"""

from __future__ import annotations

from affetto.learn.config import (
    AugmentConfig,
    ContrastiveConfig,
    CorpusConfig,
    DataConfig,
    ExperimentConfig,
    FusionConfig,
    ModelConfig,
    SpecAugmentConfig,
    SpeechConfig,
    StageConfig,
    TaskConfig,
    TextConfig,
    TrainConfig,
    VisionConfig,
)

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: What the words stand in, in training and when a class is asked for by its name.
TEMPLATES = ("{}", "the digit {}", "a spoken {}", "number {}")


_PICTURES = StageConfig(
    "pictures",
    ("text", "vision"),
    steps=800,
    batch_size=64,
    lr=4e-3,
    ema=0.98,
    paired=True,
    validate_every=400,
    contrastive=ContrastiveConfig(),
)
#: Voices come to the words, which stay where the pictures are: no voice ever meets a picture in training.
_VOICES = StageConfig(
    "voices",
    ("speech", "text"),
    steps=800,
    batch_size=64,
    lr=4e-3,
    ema=0.98,
    freeze=("encoders.text", "fusion.unimodal.pools.text", "fusion.unimodal.projections.text"),
    validate_every=400,
    contrastive=ContrastiveConfig(),
)


def digits() -> ExperimentConfig:
    """Two of six speakers and a fifth of the pictures are kept for testing."""
    return ExperimentConfig(
        name="digits",
        data=DataConfig(
            root="data",
            corpora=(CorpusConfig("digits", ".", options={"templates": TEMPLATES}),),
            reserved={"digits": ("george", "yweweler")},
            validation=0.2,
            augment=AugmentConfig(
                noise_probability=0.5,
                snr_low=10.0,
                snr_high=30.0,
                speed_probability=0.8,
                speed_range=(0.8, 1.25),
                reverb_probability=0.2,
                crop_seconds=(1.0, 1.0),
                word_dropout=0.0,
                flip=0.0,
                image_rotation=12.0,
                image_scale=0.1,
                image_erase=0.1,
            ),
        ),
        model=ModelConfig(
            dim=64,
            speech=SpeechConfig(
                n_mels=40,
                normalise_seconds=0.5,
                channels=(16, 24, 32, 48),
                layers=1,
                specaugment=SpecAugmentConfig(frequency_width=6, time_seconds=0.1, warp=0.2),
            ),
            text=TextConfig(name="words", vocab_size=300, max_tokens=16, width=64),
            vision=VisionConfig(size=32, channels=(16, 32, 64), blocks=1),
            fusion=FusionConfig(name="towers", templates=TEMPLATES),
            tasks=(TaskConfig("digit", labels=WORDS, head="probe"),),
        ),
        train=TrainConfig(stages=(_PICTURES, _VOICES)),
    )
