"""The experiment behind the bundle that ships: speech, text and face, then their fusion.

    affetto train text_lora --set data.root=DIR --set model.text.backbone.path=FOLDER -o runs/text_lora
    affetto train default --set data.root=DIR

Needs the corpora below as folders of DIR, a teacher for its text part, which the first command trains (see
`experiments/text.py`), and the folder `turn_network`, which benchmarks/turn_network.py writes. What it reaches,
what it takes, and what was tried on the way, stands in docs/default-model.md.
"""

from __future__ import annotations

from dataclasses import replace

from affetto.labels import EMOTIONS
from affetto.learn.config import (
    AugmentConfig,
    BackboneConfig,
    CorpusConfig,
    DataConfig,
    DistilConfig,
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

#: People whom no shipped bundle has heard: tests and demonstrations are theirs.
RESERVED = {"ravdess": ("15", "16"), "nemo": ("SM0", "KD0"), "emodb": ("15", "16")}

#: What `text_lora` writes.
TEACHER = "runs/text_lora/bundle"
#: Of XED's English subtitles the teacher's answers are used, never the labels. The projected ones say nothing of
#: emotion here; they teach which text is not English.
FOREIGN = ("ar", "de", "es", "fr", "it", "nl", "pl", "pt", "tr")

_SPOKEN = (
    CorpusConfig("ravdess", "ravdess", weight=1.3),
    # Every clip is cut at 2 s, because some clips of only three classes are.
    CorpusConfig("emodb", "emodb", weight=1.5, max_seconds=2.0),
    CorpusConfig("nemo", "nemo", weight=1.5),
)
_WRITTEN = (
    CorpusConfig("goemotions", "text_goemotions"),
    CorpusConfig("xed", "text_xed", weight=0.6, options={"languages": ("en", *FOREIGN)}, tasks=("language",)),
)
_FACES = (CorpusConfig("ferplus", "ferplus_faces", test_split="validation"),)

_EMOTION = TaskConfig("emotion", labels=EMOTIONS)
_LANGUAGE = TaskConfig("language", labels=("en", "other"), views=("text",), weight=0.3)

#: Two layers of a network that heard 23 languages; what is learnt here is what their states say of emotion.
_HEARD = SpeechConfig(
    "pretrained",
    padded=False,
    standardised=True,
    margin_seconds=0.0,
    # Statistics over frames are to be the same in training and in use.
    dropout=0.0,
    backbone=BackboneConfig("turn_network", layer=2),
)
_SPEECH = StageConfig(
    "speech",
    ("speech",),
    steps=1000,
    batch_size=32,
    lr=3e-3,
    weight_decay=0.05,
    warmup=0.1,
    ema=0.99,
    balance=0.7,
    label_smoothing=0.1,
    validate_every=250,
)
_TEXT = StageConfig(
    "text",
    ("text",),
    steps=6000,
    batch_size=64,
    lr=1e-3,
    weight_decay=0.05,
    ema=0.998,
    balance=0.3,
    validate_every=2000,
    distil=DistilConfig(TEACHER, languages=("en",), weight=0.7, features=1.0),
)
_VISION = StageConfig(
    "vision",
    ("vision",),
    steps=2600,
    batch_size=64,
    lr=2e-3,
    weight_decay=0.03,
    ema=0.998,
    balance=0.4,
    validate_every=500,
)
_FUSION = StageConfig(
    "fusion",
    ("speech", "text", "vision"),
    steps=600,
    batch_size=64,
    lr=5e-4,
    ema=0.99,
    # What each modality says alone is settled; here only what hears several of them learns.
    freeze=(
        "encoders",
        "fusion.unimodal",
        "heads.emotion.speech",
        "heads.emotion.text",
        "heads.emotion.vision",
        "heads.language",
    ),
    paired=True,
    modality_dropout=0.6,
    validate_every=200,
)


def default() -> ExperimentConfig:
    """The shipped model. Expected: see docs/default-model.md."""
    return ExperimentConfig(
        name="default",
        # RAVDESS and nEMO are non-commercial and share-alike.
        licence="CC-BY-NC-SA-4.0",
        data=DataConfig(
            root="data",
            corpora=(*_SPOKEN, *_WRITTEN, *_FACES),
            reserved=RESERVED,
            validation=0.15,
            augment=AugmentConfig(
                noise_probability=0.8,
                gain_db=12.0,
                snr_low=0.0,
                snr_high=20.0,
                speed_probability=0.6,
                speed_range=(0.85, 1.15),
                reverb_probability=0.3,
                crop_seconds=(2.5, 3.0),
                word_dropout=0.15,
                image_rotation=12.0,
                image_scale=0.1,
            ),
        ),
        model=ModelConfig(
            dim=128,
            speech=_HEARD,
            text=TextConfig(vocab_size=8000, width=128, layers=2, dropout=0.3),
            vision=VisionConfig(),
            fusion=FusionConfig(name="hybrid", dropout=0.3),
            tasks=(_EMOTION, _LANGUAGE),
        ),
        train=TrainConfig(stages=(_SPEECH, _TEXT, _VISION, _FUSION)),
    )


def speech() -> ExperimentConfig:
    """The speech stage of `default` alone, as the protocols with folds train it."""
    whole = default()
    return replace(
        whole,
        name="speech",
        data=replace(whole.data, corpora=_SPOKEN),
        model=replace(
            whole.model,
            text=None,
            vision=None,
            fusion=FusionConfig(name="late", dropout=0.3),
            tasks=(_EMOTION,),
        ),
        train=TrainConfig(stages=(_SPEECH,)),
    )


def speech_scratch() -> ExperimentConfig:
    """A small CNN for speech that begins with nothing; docs/default-model.md compares it with `speech`."""
    pretrained = speech()
    stage = replace(_SPEECH, steps=5000, lr=3e-3, weight_decay=0.02, warmup=0.15, clip_norm=3.0, ema=0.996)
    augment = replace(
        pretrained.data.augment,
        noise_probability=0.5,
        snr_low=5.0,
        snr_high=25.0,
        speed_range=(0.9, 1.1),
        reverb_probability=0.1,
    )
    return replace(
        pretrained,
        name="speech_scratch",
        data=replace(pretrained.data, augment=augment),
        model=replace(pretrained.model, speech=SpeechConfig(margin_seconds=0.0)),
        train=TrainConfig(stages=(stage,)),
    )


def distil_text() -> ExperimentConfig:
    """The text stage of `default` alone."""
    whole = default()
    return replace(
        whole,
        name="distil_text",
        data=replace(whole.data, corpora=_WRITTEN, reserved={}),
        model=replace(whole.model, speech=None, vision=None, fusion=FusionConfig(name="late", dropout=0.3)),
        train=TrainConfig(stages=(_TEXT,)),
    )
