from dataclasses import replace

import pytest

from affetto.errors import ConfigError, DataError
from affetto.learn.config import from_yaml, to_yaml
from affetto.learn.experiments import EXPERIMENTS, named_experiment
from affetto.learn.experiments.own import own
from affetto.learn.models.build import build_recogniser
from affetto.records import Clip
from backbones import write_backbone


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_resolves_to_a_config_that_builds(name, tmp_path):
    config = named_experiment(name)
    assert config.name == name
    assert from_yaml(to_yaml(config)) == config
    model = config.model
    for modality, family in (("speech", "whisper"), ("text", "bert")):
        section = getattr(model, modality)
        if section is not None and section.backbone is not None:
            # The files are the user's to bring; a tiny model stands for them.
            backbone = replace(section.backbone, path=str(write_backbone(tmp_path / modality, family)))
            model = replace(model, **{modality: replace(section, backbone=backbone)})
    assert build_recogniser(model).modalities == model.modalities


def test_unknown_experiments_are_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'tiny'") as error:
        named_experiment("tinny")
    assert error.value.code == "experiment_unknown"


def test_an_experiment_is_made_for_what_a_manifest_holds():
    clips = [
        Clip("1", speech="a.wav", labels={"emotion": "sadness"}),
        Clip("2", speech="b.wav", labels={"emotion": "anger"}),
    ]
    config = own("my.csv", "my", clips)
    assert config.model.modalities == ("speech",)
    assert [task.labels for task in config.model.tasks] == [("anger", "sadness")]
    assert [stage.name for stage in config.train.stages] == ["speech"]
    assert from_yaml(to_yaml(config)) == config


def test_several_modalities_get_a_fusion_stage():
    speech, text = (
        Clip("1", speech="a", labels={"emotion": "fear"}),
        Clip("2", text="b", labels={"emotion": "joy"}),
    )
    apart = own("my.csv", "my", [speech, text]).train.stages
    assert [(stage.name, stage.paired) for stage in apart] == [
        ("speech", False),
        ("text", False),
        ("fusion", True),
    ]
    both = Clip("1", speech="a", text="b", labels={"emotion": "fear"})
    assert not own("my.csv", "my", [both, both, text]).train.stages[-1].paired


def test_tasks_take_the_kind_of_their_labels():
    clips = [
        Clip("1", text="a", labels={"stance": "for", "valence": 0.3}),
        Clip("2", text="b", labels={"stance": "against"}),
    ]
    tasks = {task.name: task for task in own("my.csv", "my", clips).model.tasks}
    assert tasks["stance"].labels == ("against", "for")
    assert tasks["valence"].kind == "dimension"


def test_a_manifest_without_labels_is_refused():
    with pytest.raises(DataError, match="has no labels"):
        own("my.csv", "my", [Clip("1", text="a")])
