"""Text alone: a pretrained sentence encoder tuned by LoRA, and the shipped text encoder taught by it.

    affetto train text_lora --set data.root=DIR --set model.text.backbone.path=FOLDER -o runs/text_lora
    affetto train distil_text --set data.root=DIR --set train.stages.0.distil.teacher=runs/text_lora/bundle

What they reach stands in docs/fine-tuning.md.
"""

from __future__ import annotations

from dataclasses import replace

from affetto.learn.config import (
    AugmentConfig,
    BackboneConfig,
    CorpusConfig,
    DistilConfig,
    ExperimentConfig,
    FusionConfig,
    LoraConfig,
    StageConfig,
    TextConfig,
    TrainConfig,
)
from affetto.learn.experiments.default import FOREIGN, default

_GOEMOTIONS = CorpusConfig("goemotions", "text_goemotions")


def text_lora() -> ExperimentConfig:
    """MiniLM with LoRA in all its linear layers, under 2 % of the weights; about 40 minutes on one core."""
    whole = default()
    return ExperimentConfig(
        name="text_lora",
        data=replace(
            whole.data, corpora=(_GOEMOTIONS,), reserved={}, augment=AugmentConfig(word_dropout=0.05)
        ),
        model=replace(
            whole.model,
            speech=None,
            vision=None,
            text=TextConfig(
                name="pretrained",
                dropout=0.1,
                backbone=BackboneConfig(
                    "sentence-transformers/all-MiniLM-L6-v2",
                    lora=LoraConfig(rank=8, alpha=16.0, dropout=0.05, targets=("all-linear",)),
                ),
            ),
            fusion=FusionConfig(name="late"),
            tasks=whole.model.tasks[:1],
        ),
        train=TrainConfig(
            stages=(
                StageConfig(
                    "text",
                    ("text",),
                    steps=1800,
                    batch_size=64,
                    lr=1e-3,
                    schedule="linear",
                    warmup=0.06,
                    balance=0.3,
                    validate_every=600,
                ),
            )
        ),
    )


def distil_text() -> ExperimentConfig:
    """The text part of `default`, taught by `text_lora` on GoEmotions and on XED's English subtitles.

    Of XED the teacher's answers are used, never the labels.
    """
    whole = default()
    xed = CorpusConfig(
        "xed", "text_xed", weight=0.6, options={"languages": ("en", *FOREIGN)}, tasks=("language",)
    )
    return ExperimentConfig(
        name="distil_text",
        data=replace(whole.data, corpora=(_GOEMOTIONS, xed), reserved={}),
        model=replace(whole.model, speech=None, vision=None, fusion=FusionConfig(name="late", dropout=0.3)),
        train=TrainConfig(
            stages=(
                StageConfig(
                    "text",
                    ("text",),
                    steps=6000,
                    batch_size=64,
                    lr=1e-3,
                    weight_decay=0.05,
                    ema=0.998,
                    balance=0.3,
                    validate_every=2000,
                    distil=DistilConfig("runs/text_lora/bundle", languages=("en",), weight=0.7, features=1.0),
                ),
            )
        ),
    )
