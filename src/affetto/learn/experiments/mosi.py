"""Sentiment of CMU-MOSI utterances from published features of words, voice and face: for comparing fusions.

affetto compare mosi --set data.root=DIR --vary model.fusion.name=concat,gated,hybrid --seeds 5

Needs DIR/cmu_mosi_features (see `data/corpora/mosi.py`); some 0.1 M parameters, seconds a run on a CPU.
"""

from __future__ import annotations

from affetto.learn.config import (
    CorpusConfig,
    DataConfig,
    ExperimentConfig,
    FeaturesConfig,
    FusionConfig,
    ModelConfig,
    StageConfig,
    TaskConfig,
    TrainConfig,
)


def mosi() -> ExperimentConfig:
    """Three encoders of utterance vectors and a fusion, in one stage; a tenth of the videos validates.

    Four epochs, because the features of words and face were themselves learned from the training videos: what
    is trained on them for longer comes to trust them more than the test bears out.
    """
    return ExperimentConfig(
        name="mosi",
        data=DataConfig(corpora=(CorpusConfig("mosi", "cmu_mosi_features", tasks=("sentiment",)),)),
        model=ModelConfig(
            dim=64,
            features={
                "speech": FeaturesConfig(size=73),
                "text": FeaturesConfig(size=100),
                "vision": FeaturesConfig(size=100),
            },
            fusion=FusionConfig(name="concat", tokens=2, layers=1, dropout=0.3),
            tasks=(TaskConfig("sentiment", labels=("negative", "positive")),),
        ),
        train=TrainConfig(
            stages=(
                StageConfig(
                    "fusion",
                    ("speech", "text", "vision"),
                    epochs=4,
                    balance=0.0,
                    ema=0.99,
                    modality_dropout=0.5,
                ),
            ),
            devices=0,
        ),
    )
