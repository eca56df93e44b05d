"""The stages of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from affetto.learn.config.ranges import Count, NotNegative, Positive, Share, Whole


@dataclass(frozen=True)
class ContrastiveConfig:
    """How a stage brings the towers of a model together; docs/alignment.md has the formulas.

    loss:         "distance" is ||f_s - f_t||^2 + divergence * KL(p_s || p_t), with heads that teach ("linear").
    positives:    "label": whatever has the same class of the first task; "item": what stands in one clip.
    invariance:   share of a loss between two passes of the same clips, each augmented by itself; 0 has one pass.
    distillation: share of KL(a teacher's view of the pictures || speech's view of them). The teacher is the text of
                  the clip or, in a stage without text, its picture.
    contrast:     share of the contrastive loss beside that.
    chunk:        rows encoded at a time; what is kept between is the embeddings alone (gradient cache).
    """

    loss: Literal["symmetric", "alternating", "nt_xent", "sigmoid", "supervised", "distance"] = "symmetric"
    positives: Literal["label", "item"] = "label"
    divergence: NotNegative = 1.0
    invariance: NotNegative = 0.0
    distillation: NotNegative = 0.0
    contrast: NotNegative = 1.0
    chunk: Count | None = None


@dataclass(frozen=True)
class DistilConfig:
    """A teacher for a stage: its answers are targets beside the labels, also of clips that have none.

    teacher:   a bundle. languages: of the clips that it answers; None is all.
    weight:    share of its answers in the loss, the rest is that of the labels.
    features:  what it costs to find other clips alike than the teacher does.
    """

    teacher: str
    languages: tuple[str, ...] | None = None
    weight: Share = 0.7
    temperature: Positive = 2.0
    features: NotNegative = 0.0


@dataclass(frozen=True)
class HintConfig:
    """A published network whose inner states the speech encoder of a stage is to tell, beside its labels.

    weights: the ONNX file of the published speech embedding (see `SpeechConfig`). weight: of what it costs,
    beside the loss of the labels and of a teacher.
    """

    weights: str
    weight: NotNegative = 8.0


@dataclass(frozen=True)
class StageConfig:
    """One stage of a run. Exactly one of `steps` and `epochs` is given.

    modalities: the encoders and views that are trained; clips bring only these.
    warmup:     share of the steps over which the rate rises.
    schedule:   how it falls afterwards.
    backbone_rate: the rate of pretrained weights and their adapters, as a share of `lr`.
    layer_decay: what every layer of a backbone has of the rate of the one above it.
    accumulate: batches whose gradients make one step.
    balance:    0 draws clips as they come, 1 draws every class alike.
    freeze:     prefixes of module names that are not trained ("encoders", "heads.emotion.speech").
    paired:     clips of different corpora with one label are composed into one clip with all modalities.
    mixup:      alpha of the mixing of clips' media; not where there is text.
    track_mixup: alpha of the mixing of what the encoders made of clips, text too, each modality by itself.
    task_weights: how tasks of one loss are weighed: as given, by their uncertainty, or by gradient norm.
    consistency: weight of the divergence between what is said of a clip and of a part of its modalities.
    reconstruction: weight of the guess of a missing modality's vector from `fused`.
    patience:   validations without progress after which the stage ends; None never ends early.
    validate_every: steps between validations; None is once per epoch.
    contrastive: what brings the views of the fusion "towers" together; None trains the heads alone.
    objective:  "supervised" learns from labels; "masked" learns, without any, to fill in what was blanked: words
                of a text, stretches of speech.
    """

    name: str
    modalities: tuple[Literal["speech", "text", "vision"], ...]
    steps: Count | None = None
    epochs: Count | None = None
    batch_size: Count = 32
    lr: Positive = 1e-3
    weight_decay: NotNegative = 0.01
    warmup: Share = 0.1
    schedule: Literal["cosine", "linear", "one-cycle", "constant"] = "cosine"
    backbone_rate: Positive = 1.0
    layer_decay: Share = 1.0
    accumulate: Count = 1
    clip_norm: Positive | None = 1.0
    ema: Share | None = None
    balance: Share = 1.0
    freeze: tuple[str, ...] = ()
    paired: bool = False
    modality_dropout: Share = 0.0
    label_smoothing: Share = 0.0
    mixup: NotNegative = 0.0
    track_mixup: NotNegative = 0.0
    task_weights: Literal["fixed", "uncertainty", "gradnorm"] = "fixed"
    consistency: NotNegative = 0.0
    reconstruction: NotNegative = 0.0
    patience: Count | None = None
    validate_every: Count | None = None
    contrastive: ContrastiveConfig | None = None
    objective: Literal["supervised", "masked"] = "supervised"
    distil: DistilConfig | None = None
    hint: HintConfig | None = None


@dataclass(frozen=True)
class TrainConfig:
    """Stages in order. `start_from` is a bundle whose weights the run begins with.

    devices:   0 is the CPU; 2 or more are as many processes, each on a GPU of its own where there are so many.
    sharding:  "full" shares out the weights of pretrained backbones among the processes (FSDP2); "none" gives each
               of them all.
    keep:      checkpoints of where the run stood, the last one included; the best weights of a stage beside them.
    precision: "bf16" computes in half the width, with weights in fp32.
    low_rank:  encoders and fusion learn corrections of this rank to the weights they begin with; None learns these.
    """

    stages: tuple[StageConfig, ...] = ()
    devices: Whole = 1
    sharding: Literal["none", "full"] = "none"
    workers: Whole = 0
    start_from: str | None = None
    low_rank: Count | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    keep: Count = 2
