from dataclasses import replace

import pytest

from affetto.errors import ConfigError
from affetto.learn.compare.grid import alone, media_of, variants
from affetto.learn.config import SpeechConfig
from affetto.learn.experiments import named_experiment
from affetto.learn.models.build import build_recogniser


def test_every_combination_and_each_modality_alone(config):
    found = variants(config, ["model.fusion=concat,late", "train.stages.0.lr=1e-3,3e-3"])
    assert [variant.name for variant in found] == [
        "concat, lr=1e-3", "concat, lr=3e-3", "late, lr=1e-3", "late, lr=3e-3",
        "speech alone", "text alone", "vision alone",
    ]  # fmt: skip
    assert found[3].config.model.fusion.name == "late"
    assert found[3].config.train.stages[0].lr == 3e-3
    assert [variant.alone for variant in found[3:]] == [None, "speech", "text", "vision"]


def test_without_anything_to_vary_the_experiment_itself_is_compared(config):
    first, *single = variants(config, [])
    assert (first.name, first.config) == ("small", config)
    assert len(single) == 3
    assert len(variants(alone(config, "text"), [])) == 1


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("model.fusion", "config_invalid"),
        ("=a", "config_invalid"),
        ("model.fusion=concat,concat", "config_invalid"),
        ("model.fusion=[", "config_invalid"),
        ("model.fussion=concat", "config_unknown_key"),
        ("model.dim=-1,2", "config_invalid"),
    ],
)
def test_settings_that_cannot_vary_are_refused(config, setting, code):
    with pytest.raises(ConfigError) as error:
        variants(config, [setting])
    assert error.value.code == code


@pytest.mark.parametrize("name", ["tiny", "mosi", "default"])
def test_each_modality_of_an_experiment_can_stand_alone(name):
    config = named_experiment(name)
    if name == "default":  # the files of its speech backbone are the user's to bring
        config = replace(config, model=replace(config.model, speech=SpeechConfig()))
    for modality in config.model.modalities:
        single = alone(config, modality)
        assert single.model.modalities == (modality,)
        assert {name for stage in single.train.stages for name in stage.modalities} == {modality}
        assert build_recogniser(single.model).modalities == (modality,)
        assert media_of(single.model).items() <= media_of(config.model).items()
