from dataclasses import replace

import pytest

from affetto.errors import ConfigError
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
    apply_settings,
    from_dict,
    from_yaml,
    load_config,
    to_yaml,
)
from affetto.learn.settings import to_dict


@pytest.fixture
def config() -> ExperimentConfig:
    return ExperimentConfig(
        name="probe",
        data=DataConfig(
            corpora=(
                CorpusConfig("ravdess", "data/ravdess", weight=2.0),
                CorpusConfig("xed", "data/xed", options={"languages": ("pl", "de")}, tasks=("language",)),
            ),
            root="corpora",
            reserved={"ravdess": ("15", "16")},
            augment=AugmentConfig(speed_range=(0.8, 1.2)),
        ),
        model=ModelConfig(
            dim=32,
            speech=SpeechConfig(channels=(8, 16)),
            text=TextConfig(name="words"),
            fusion=FusionConfig("gated", vote="mean"),
            tasks=(TaskConfig("emotion", labels=("anger", "sadness"), views=("fused", "text")),),
        ),
        train=TrainConfig(
            stages=(
                StageConfig("speech", ("speech",), steps=10),
                StageConfig("fusion", ("speech", "text"), epochs=2, freeze=("encoders",), paired=True),
            )
        ),
    )


def test_yaml_gives_an_equal_tree_back(config: ExperimentConfig, tmp_path) -> None:
    assert from_yaml(to_yaml(config)) == config
    path = tmp_path / "run.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(path) == config


def test_plain_values_are_plain(config: ExperimentConfig) -> None:
    plain = to_dict(config)
    assert plain["data"]["augment"]["speed_range"] == [0.8, 1.2]
    assert plain["data"]["reserved"] == {"ravdess": ["15", "16"]}
    assert plain["model"]["vision"] is None
    assert from_dict(ExperimentConfig, plain) == config


def test_a_section_can_be_read_alone() -> None:
    assert from_dict(SpeechConfig, {"name": "crnn", "channels": [4, 8]}) == SpeechConfig(
        "crnn", channels=(4, 8)
    )


def test_a_tree_cannot_be_changed(config: ExperimentConfig) -> None:
    with pytest.raises(AttributeError):
        config.seed = 3  # type: ignore[misc]
    assert replace(config, seed=3).seed == 3


@pytest.mark.parametrize(
    ("setting", "path", "nearest"),
    [
        ("train.stages.0.lrr=1", "train.stages.0.lrr", "'lr'"),
        ("sed=1", "sed", "'seed'"),
        ("model.speech.n_mel=80", "model.speech.n_mel", "'n_mels'"),
        ("data.augmentation={}", "data.augmentation", "'augment'"),
        ("model.vision.sizes=64", "model.vision.sizes", "'size'"),
        ("seed.high=1", "seed.high", "does not exist"),
    ],
)
def test_unknown_keys_are_refused_with_the_nearest(config, setting, path, nearest) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_settings(config, [setting])
    assert caught.value.code == "config_unknown_key"
    assert str(caught.value).startswith(path)
    assert nearest in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("seed=1.5", "seed: expected a whole number, got 1.5"),
        ("seed=true", "seed: expected a whole number, got True"),
        ("seed=-1", "seed: expected at least 0, got -1"),
        ("name=no", "name: expected text (in quotes), got False"),
        ("data.validation=2", "data.validation: expected 0 to 1, got 2"),
        ("train.stages.0.lr=0", "train.stages.0.lr: expected more than 0, got 0"),
        ("train.stages.0.lr=.nan", "train.stages.0.lr: expected a number, got nan"),
        ("train.stages.0.paired=1", "train.stages.0.paired: expected true or false, got 1"),
        ("train.stages.0.modalities=[smell]", "train.stages.0.modalities.0: expected one of speech"),
        ("train.stages.9.lr=1", "expected 0 to 1"),
        (
            "model.fusion.vote=most",
            "model.fusion.vote: expected one of learned, mean, validated, majority, fused",
        ),
        ("model.speech.channels=8", "model.speech.channels: expected a list, got 8"),
        ("model.speech=3", "model.speech: expected a mapping, got 3"),
        ("model.fusion=null", "model.fusion: expected a mapping, got None"),
        ("data.augment.speed_range=[1]", "data.augment.speed_range: expected 2 values"),
        ("data.augment.speed_range=[1.2, 0.8]", "expected low to high"),
        ("data.augment.snr_low=90", "expected low to high"),
        ("data.reserved=[1]", "data.reserved: expected a mapping"),
        ("data.reserved={ravdess: [15]}", "data.reserved.ravdess.0: expected text (in quotes), got 15"),
        ("data.fold=1", "give both or neither"),
        ("data={folds: 3, fold: 3}", "data.fold: expected 0 to 2, got 3"),
        ("train.stages.0.epochs=3", "train.stages.0: give exactly one of steps and epochs"),
        (
            "train.stages.1.contrastive.distillation=1",
            "train.stages.1.contrastive: distillation goes from vision to speech, got speech, text",
        ),
        (
            "train.stages.0.contrastive.loss=sigmoid",
            "train.stages.0.contrastive: sigmoid compares modalities, the stage has speech",
        ),
        ("train.stages.0.modalities=[vision]", "the model has speech, text"),
        ("train.stages.1.name=speech", "train.stages: 'speech' is there twice"),
        ("model.tasks.0.labels=[]", "emotion needs at least two to tell apart, got none"),
        ("model.tasks.0.labels=[anger]", "emotion needs at least two to tell apart, got anger"),
        ("model.tasks.0.labels=[anger, anger]", "'anger' is there twice"),
        ("data.corpora=[{path: x}]", "data.corpora.0.reader: must be given"),
        ("seed", "expected path=value"),
        ("seed=[", "is not a value in YAML"),
    ],
)
def test_wrong_values_are_refused_by_path(config, setting, told) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_settings(config, [setting])
    assert caught.value.code == "config_invalid"
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_fault_is_told_at_once(config: ExperimentConfig) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_settings(config, ["seeed=1", "data.validation=x", "model.dims=3"])
    assert all(part in str(caught.value) for part in ("seeed", "data.validation", "model.dims"))


def test_settings_reach_everywhere(config: ExperimentConfig) -> None:
    changed = apply_settings(
        config,
        [
            "seed=7",
            "train.stages.1.lr=1e-4",  # YAML 1.1 takes this for text
            "model.vision.size=64",  # begins a section from its defaults
            "model.text=null",
            "model.tasks.0.views=null",
            "train.stages.1.modalities=[speech, vision]",
            "data.hold_out=nemo",
            "data.reserved.emodb=['15']",
        ],
    )
    assert changed.seed == 7
    assert changed.train.stages[1].lr == 1e-4
    assert changed.model.modalities == ("speech", "vision")
    assert changed.model.vision is not None
    assert changed.model.vision.size == 64
    assert changed.model.tasks[0].views is None
    assert changed.data.hold_out == "nemo"
    assert changed.data.reserved == {"ravdess": ("15", "16"), "emodb": ("15",)}
    assert config.seed == 0


@pytest.mark.parametrize("text", ["- 1", "name: [", "", "x"])
def test_what_is_no_tree_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_yaml(text)
    assert caught.value.code == "config_invalid"


def test_a_file_that_is_not_there_is_told(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")
