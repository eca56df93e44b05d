"""The smallest run that goes through everything: to try a machine, a manifest or a change.

affetto train tiny --set data.corpora.0.path=my.csv
"""

from __future__ import annotations

from affetto.labels import EMOTIONS
from affetto.learn.config import (
    AugmentConfig,
    CorpusConfig,
    DataConfig,
    ExperimentConfig,
    FusionConfig,
    ModelConfig,
    SpeechConfig,
    StageConfig,
    TaskConfig,
    TextConfig,
    TrainConfig,
    VisionConfig,
)


def tiny() -> ExperimentConfig:
    """Three modalities, a stage for each and one for the fusion, some 0.1 M parameters, seconds on a CPU."""
    model = ModelConfig(
        dim=32,
        speech=SpeechConfig(n_mels=32, channels=(8, 16), width=32, layers=1),
        text=TextConfig(name="words", vocab_size=300, max_tokens=16, width=32),
        vision=VisionConfig(channels=(8, 16), blocks=1),
        fusion=FusionConfig(tokens=2, layers=1, heads=2),
        tasks=(TaskConfig("emotion", labels=EMOTIONS),),
    )
    stages = (
        StageConfig("speech", ("speech",), epochs=6, batch_size=16, lr=5e-3),
        StageConfig("text", ("text",), epochs=6, batch_size=16, lr=1e-2),
        StageConfig("vision", ("vision",), epochs=6, batch_size=16, lr=5e-3),
        StageConfig(
            "fusion",
            ("speech", "text", "vision"),
            epochs=4,
            batch_size=16,
            lr=2e-3,
            freeze=("encoders",),
            paired=True,
            modality_dropout=0.5,
        ),
    )
    return ExperimentConfig(
        name="tiny",
        data=DataConfig(
            corpora=(CorpusConfig("manifest", "tiny.csv"),),
            validation=0.25,
            augment=AugmentConfig(crop_seconds=(0.5, 1.0)),
        ),
        model=model,
        train=TrainConfig(stages=stages),
    )
