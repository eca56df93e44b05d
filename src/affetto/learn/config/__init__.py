"""The one typed tree of a run: data, model, training. Saved as YAML beside the weights.

The tree crosses three doors only (the model builder, the data loader, the training loop); modules never see
it. Ranges stand in the types (`Share`, `Count`, ...), so a generic walker over the type hints reads, checks
and writes every section: adding a setting is adding a field.

Names of encoders, fusions and heads are plain strings: the builder looks them up in the registries, so that a
new fusion needs one file and one registry line and no edit here.
"""

from __future__ import annotations

from affetto.learn.config.data import AugmentConfig, CorpusConfig, DataConfig
from affetto.learn.config.experiment import (
    ExperimentConfig,
    apply_settings,
    from_dict,
    from_yaml,
    load_config,
    to_yaml,
)
from affetto.learn.config.model import (
    BackboneConfig,
    FeaturesConfig,
    FusionConfig,
    LoraConfig,
    ModelConfig,
    SharingConfig,
    SpecAugmentConfig,
    SpeechConfig,
    TaskConfig,
    TextConfig,
    VisionConfig,
)
from affetto.learn.config.train import ContrastiveConfig, DistilConfig, HintConfig, StageConfig, TrainConfig

__all__ = [
    "AugmentConfig",
    "BackboneConfig",
    "ContrastiveConfig",
    "CorpusConfig",
    "DataConfig",
    "DistilConfig",
    "ExperimentConfig",
    "FeaturesConfig",
    "FusionConfig",
    "HintConfig",
    "LoraConfig",
    "ModelConfig",
    "SharingConfig",
    "SpecAugmentConfig",
    "SpeechConfig",
    "StageConfig",
    "TaskConfig",
    "TextConfig",
    "TrainConfig",
    "VisionConfig",
    "apply_settings",
    "from_dict",
    "from_yaml",
    "load_config",
    "to_yaml",
]
