"""The parts of a model, by name and size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from affetto.learn.config.ranges import Count, NotNegative, Positive, Share, Whole
from affetto.learn.settings import Range
from affetto.records import MODALITIES, TaskKind


@dataclass(frozen=True)
class LoraConfig:
    """A low-rank adapter beside a backbone's weights, which alone learns (Hu et al. 2022, "LoRA").

    targets: "attention", "all-linear", or names of linear layers.
    """

    rank: Count = 8
    alpha: Positive = 16.0
    dropout: Share = 0.0
    targets: tuple[str, ...] = ("attention",)


@dataclass(frozen=True)
class BackboneConfig:
    """A pretrained model of Hugging Face, for encoders named "pretrained" and the fusion "prefix".

    path:     a folder, or an id on the hub. revision: a commit there; what was opened is recorded in the run.
    layer:    the hidden state that is read: 0 the embeddings, -1 the last; None mixes all by learned weights.
    pooling:  what is kept of the steps; None takes what suits the modality.
    trained_layers: how many of its last layers learn; 0 freezes it, None lets all of it learn.
    gradient_checkpointing: computes states twice instead of keeping them: less memory, a third more time.
    """

    path: str
    revision: str | None = None
    layer: int | None = -1
    pooling: Literal["steps", "mean", "first", "last"] | None = None
    trained_layers: Whole | None = 0
    lora: LoraConfig | None = None
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class SpecAugmentConfig:
    """Bands and stretches of the log-mel blanked in training (Park et al. 2019, "SpecAugment")."""

    frequency_masks: Whole = 2
    frequency_width: Whole = 10  # mel bands, at most
    time_masks: Whole = 2
    time_seconds: NotNegative = 0.4  # at most, and never more than a fifth of the clip
    warp: Share = 0.12  # the mel axis is stretched by a factor in 1 +- this


@dataclass(frozen=True)
class SpeechConfig:
    """Speech encoder: "cnn", "crnn", "transformer", "speech_embedding", or "pretrained" with its `backbone`.

    channels: of the convolutional net's stages.
    layers, width, heads: of what follows it (context convolutions, GRU, Transformer).
    normalise_seconds: each frame is taken minus the mean of the frames this far to either side.
    margin_seconds: what is no speech before and after is cut off but for this much; None leaves it. How much
        there is differs between corpora, and a model that hears it learns to tell them apart.
    weights: speech_embedding: the ONNX file of the published network; None starts from nothing.
    padded: pretrained, a Whisper: hears silence behind a clip up to its whole stretch, as it was trained.
    standardised: pretrained: each state of the layer that is read to mean 0 and deviation 1.
    """

    name: str = "cnn"
    n_mels: Count = 64
    normalise_seconds: Positive = 1.5
    margin_seconds: NotNegative | None = None
    channels: tuple[Count, ...] = (24, 32, 64, 96)
    width: Count = 128
    layers: Whole = 2
    heads: Count = 4
    dropout: Share = 0.1
    specaugment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)
    weights: str | None = None
    padded: bool = True
    standardised: bool = False
    backbone: BackboneConfig | None = None


@dataclass(frozen=True)
class TextConfig:
    """Text encoder: "words", "cnn", "transformer", or "pretrained" with its `backbone`.

    vectors: a word2vec or GloVe file of `width`.
    """

    name: str = "transformer"
    vocab_size: Count = 8000
    max_tokens: Count = 64
    width: Count = 192
    layers: Count = 4
    heads: Count = 4
    dropout: Share = 0.1
    vectors: str | None = None
    backbone: BackboneConfig | None = None


@dataclass(frozen=True)
class VisionConfig:
    """Vision encoder: "resnet" (channels, blocks), "vit" (patch, width, layers, heads), or "pretrained".

    `size` in pixels; a pretrained `backbone` enlarges its pictures to the size that it knows.

    `grey` reads pictures by brightness alone: right wherever some training faces have no colour.
    """

    name: str = "resnet"
    size: Annotated[int, Range(32, 256)] = 48
    grey: bool = True
    channels: tuple[Count, ...] = (32, 64, 128)
    blocks: Count = 2
    patch: Count = 8
    width: Count = 128
    layers: Count = 4
    heads: Count = 4
    dropout: Share = 0.1
    backbone: BackboneConfig | None = None


@dataclass(frozen=True)
class FeaturesConfig:
    """Encoder of a modality's precomputed features: "mlp" (0 layers: one linear map) or "transformer".

    size: values per step, as the archive has them; width, layers, heads: of the encoder.
    noise: deviation of the normal noise that training adds to the features, theirs being 1. Features that were
        themselves learned from the training clips look surer there than they are; noise makes up for it.
    """

    size: Count
    name: str = "mlp"
    width: Count = 64
    layers: Whole = 1
    heads: Count = 4
    dropout: Share = 0.3
    noise: NotNegative = 0.0


@dataclass(frozen=True)
class FusionConfig:
    """How Tracks become views, and how a vote merges what the heads of the views say.

    tokens: hybrid: learned summary tokens per modality that the fused view attends over; crossmodal and
            trimodal: learned questions that ask beside the text; bottleneck: tokens that all share.
    steps:  early: moments of the common clock, over the whole recording.
    rank:   tensor: how many products are added up.
    vote:   None takes the form's own: learned for hybrid, crossmodal, late and towers, else the fused view alone.
    trunk:  towers: a layer that all modalities share before their space.
    templates: towers: what a class's name is put into ({}) when it is asked for in words.
    backbone: prefix: the language model that reads what the encoders say.
    """

    name: str = "hybrid"
    tokens: Count = 4
    steps: Count = 32
    rank: Count = 4
    layers: Count = 2
    heads: Count = 4
    dropout: Share = 0.1
    vote: Literal["learned", "mean", "validated", "majority", "fused"] | None = None
    trunk: bool = False
    templates: tuple[str, ...] = ("{}",)
    backbone: BackboneConfig | None = None


@dataclass(frozen=True)
class SharingConfig:
    """What tasks share between a view and their heads: "hard", "cross-stitch", "tied" or "experts".

    layers: of each trunk.
    tie:    tied: price of the squared distance between two tasks' trunks.
    """

    name: str = "hard"
    layers: Count = 1
    experts: Count = 4
    tie: NotNegative = 0.01
    dropout: Share = 0.1


@dataclass(frozen=True)
class TaskConfig:
    """What is asked: labels in order, the views that answer (None = all), the head, its share of the loss.

    labels:      of a task of kind "identity" they are left out: the people of the training clips are taken.
    adversarial: above 0, the head stands behind a gradient reversal that grows to this strength: what it
                 reads is to forget the task.
    focus:       gamma of the focal loss; 0 is cross-entropy.
    effective_beta: weighs classes by their effective number in the training clips with this beta, such as
                 0.999 (Cui et al. 2019); None weighs them alike. One or the other: a stage's `balance` draws
                 the first task's classes alike already.
    """

    name: str
    kind: TaskKind = "single-label"
    labels: tuple[str, ...] = ()
    views: tuple[str, ...] | None = None
    head: str = "linear"
    weight: NotNegative = 1.0
    adversarial: NotNegative = 0.0
    focus: NotNegative = 0.0
    effective_beta: Share | None = None

    @property
    def private(self) -> bool:
        """Whether the task is there for training alone: an adversary, or who of the training set it is."""
        return self.adversarial > 0.0 or self.kind == "identity"


@dataclass(frozen=True)
class ModelConfig:
    """The whole model; a modality is part of it when its section is there. `dim` is D of every Track.

    features: modality to the encoder of its precomputed features, which takes the place of its media.
    sharing: None lets the heads of all tasks read a view as it is, which is hard sharing without layers.
    """

    dim: Count = 128
    speech: SpeechConfig | None = None
    text: TextConfig | None = None
    vision: VisionConfig | None = None
    features: Mapping[str, FeaturesConfig] = field(default_factory=dict)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    sharing: SharingConfig | None = None
    tasks: tuple[TaskConfig, ...] = ()

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that have an encoder, in the order of `records.MODALITIES`."""
        return tuple(name for name in MODALITIES if getattr(self, name) is not None or name in self.features)
