"""The one typed tree of a run: data, model, training. Saved as YAML beside the weights.

The tree crosses three doors only (the model builder, the data loader, the training loop); modules never see
it. Ranges stand in the types (`Share`, `Count`, ...), so a generic walker over the type hints reads, checks
and writes every section: adding a setting is adding a field.

Names of encoders, fusions and heads are plain strings: the builder looks them up in the registries, so that a
new fusion needs one file and one registry line and no edit here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml

from affetto.errors import ConfigError
from affetto.learn.settings import Range, put, read_section, to_dict
from affetto.records import MODALITIES, TaskKind

T = TypeVar("T")


Share = Annotated[float, Range(0.0, 1.0)]
Positive = Annotated[float, Range(0.0, open_low=True)]
NotNegative = Annotated[float, Range(0.0)]
Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]


# --- data ---------------------------------------------------------------------------------------------------


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
    hold_out: str | None = None
    allow_leaks: tuple[str, ...] = ()
    augment: AugmentConfig = field(default_factory=AugmentConfig)


# --- model --------------------------------------------------------------------------------------------------


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
    """Speech encoder: "cnn", "crnn", "transformer", or "pretrained" with its `backbone`.

    channels: of the convolutional net's stages.
    layers, width, heads: of what follows it (context convolutions, GRU, Transformer).
    normalise_seconds: each frame is taken minus the mean of the frames this far to either side.
    margin_seconds: what is no speech before and after is cut off but for this much; None leaves it. How much
        there is differs between corpora, and a model that hears it learns to tell them apart.
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


# --- training -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ContrastiveConfig:
    """How a stage brings the towers of a model together; docs/alignment.md has the formulas.

    loss:         "distance" is ||f_s - f_t||^2 + divergence * KL(p_s || p_t), with heads that teach ("linear").
    positives:    "label": whatever has the same class of the first task; "item": what stands in one clip.
    invariance:   share of a loss between two passes of the same clips, each augmented by itself; 0 has one pass.
    distillation: share of KL(text's view of the pictures || speech's view of them): text and vision teach.
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


@dataclass(frozen=True)
class TrainConfig:
    """Stages in order. `start_from` is a bundle whose weights the run begins with; 0 devices means CPU.

    precision: "bf16" computes in half the width, with weights in fp32.
    """

    stages: tuple[StageConfig, ...] = ()
    devices: Whole = 1
    workers: Whole = 0
    start_from: str | None = None
    precision: Literal["fp32", "bf16"] = "fp32"


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that a run depends on. `seed` is the source of all its randomness.

    `licence` is that of the weights; None lists those of the corpora.
    """

    name: str
    seed: Whole = 0
    licence: str | None = None
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


# --- reading and writing ------------------------------------------------------------------------------------


def from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
    """A section of the tree, or the whole of it, from plain values. Fields left out take their defaults.

    Raises ConfigError naming every fault at once: `config_unknown_key` when a key does not exist (with the
    nearest one that does), else `config_invalid` for wrong types, ranges and contradictions.
    """
    config = read_section(cls, values)
    if isinstance(config, ExperimentConfig):
        found = _contradictions(config)
        if found:
            raise ConfigError("config_invalid", "; ".join(found))
    return config


def from_yaml(text: str) -> ExperimentConfig:
    """A run's tree from YAML. Raises ConfigError `config_invalid`, `config_unknown_key`."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError("config_invalid", f"not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, Mapping):
        raise ConfigError("config_invalid", f"expected name, data, model and train; got {values!r}")
    return from_dict(ExperimentConfig, values)


def to_yaml(config: ExperimentConfig) -> str:
    """The tree as YAML; `from_yaml` gives an equal tree back."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def load_config(path: str | Path) -> ExperimentConfig:
    """A run's tree from a YAML file. Raises ConfigError `config_invalid`, `config_unknown_key`."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("config_invalid", f"cannot read the settings in {path}: {error}") from error
    return from_yaml(text)


def apply_settings(config: ExperimentConfig, settings: Sequence[str]) -> ExperimentConfig:
    """The tree with `path=value` settings applied, as `--set train.stages.0.lr=1e-3` gives them.

    Values are YAML. A section that is None begins from its defaults. Raises ConfigError `config_unknown_key`
    or `config_invalid`.
    """
    tree = to_dict(config)
    for setting in settings:
        put(tree, setting)
    return from_dict(ExperimentConfig, tree)


def _contradictions(config: ExperimentConfig) -> list[str]:
    """What each value alone cannot show: settings that exclude or need each other."""
    data, model, found = config.data, config.model, []
    if (data.folds is None) != (data.fold is None):
        found.append("data.folds and data.fold: give both or neither")
    elif data.folds is not None and data.fold is not None and data.fold >= data.folds:
        found.append(f"data.fold: expected 0 to {data.folds - 1}, got {data.fold}")
    augment = data.augment
    for name, (low, high) in {
        "snr_low and snr_high": (augment.snr_low, augment.snr_high),
        "speed_range": augment.speed_range,
        "crop_seconds": augment.crop_seconds,
    }.items():
        if low > high:
            found.append(f"data.augment.{name}: expected low to high, got {low:g} and {high:g}")
    for name in model.features:
        if name not in MODALITIES:
            found.append(f"model.features: expected some of {', '.join(MODALITIES)}, got {name!r}")
        elif getattr(model, name) is not None:
            found.append(f"model.{name} and model.features.{name}: a modality is read one way, give one")
    found.extend(_repeated("model.tasks", [task.name for task in model.tasks]))
    for i, task in enumerate(model.tasks):
        if task.kind not in ("dimension", "identity") and not task.labels:
            found.append(f"model.tasks.{i}.labels: a {task.kind} task needs labels")
        found.extend(_repeated(f"model.tasks.{i}.labels", task.labels))
    found.extend(_repeated("train.stages", [stage.name for stage in config.train.stages]))
    for i, stage in enumerate(config.train.stages):
        if (stage.steps is None) == (stage.epochs is None):
            found.append(f"train.stages.{i}: give exactly one of steps and epochs")
        if stage.distil is not None and (stage.paired or stage.objective != "supervised"):
            found.append(
                f"train.stages.{i}.distil: a teacher answers clips as they are, not paired or masked ones"
            )
        absent = [name for name in stage.modalities if name not in model.modalities]
        if absent or not stage.modalities:
            have = ", ".join(model.modalities) or "none"
            found.append(f"train.stages.{i}.modalities: the model has {have}, got {list(stage.modalities)}")
        if stage.contrastive is not None:
            found.extend(f"train.stages.{i}.contrastive: {fault}" for fault in _unfit(stage, stage.contrastive))
    return found


def _unfit(stage: StageConfig, contrastive: ContrastiveConfig) -> list[str]:
    found = []
    if len(stage.modalities) < 2 and contrastive.loss != "supervised":
        found.append(f"{contrastive.loss} compares modalities, the stage has {', '.join(stage.modalities)}")
    if contrastive.chunk is not None and (stage.track_mixup or stage.consistency or stage.reconstruction):
        found.append("chunk keeps no Track for track_mixup, consistency or reconstruction: leave these at 0")
    if contrastive.distillation and len(set(stage.modalities)) < len(MODALITIES):
        found.append(f"distillation goes from text and vision to speech, got {', '.join(stage.modalities)}")
    return found


def _repeated(path: str, names: Sequence[str]) -> list[str]:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    return [f"{path}: {name!r} is there twice" for name in twice]
