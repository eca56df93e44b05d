"""Text alone: a pretrained sentence encoder tuned by LoRA, the teacher of the shipped text encoder.

    affetto train text_lora --set data.root=DIR --set model.text.backbone.path=FOLDER -o runs/text_lora

What it reaches stands in docs/fine-tuning.md.
"""

from __future__ import annotations

from dataclasses import replace

from affetto.learn.config import (
    AugmentConfig,
    BackboneConfig,
    CorpusConfig,
    ExperimentConfig,
    FusionConfig,
    LoraConfig,
    StageConfig,
    TextConfig,
    TrainConfig,
)
from affetto.learn.experiments.default import default

_GOEMOTIONS = CorpusConfig("goemotions", "text_goemotions")


def text_lora() -> ExperimentConfig:
    """MiniLM with LoRA in all its linear layers, under 2 % of the weights; 16 minutes on two cores in bf16."""
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
