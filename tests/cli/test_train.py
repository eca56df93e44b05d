"""`affetto train`: what it is given, what it refuses, and (slow) a whole run to an answering bundle."""

import csv
import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from PIL import Image

from affetto.cli import train as command
from affetto.cli.app import main
from affetto.errors import ConfigError
from affetto.learn.config import to_yaml
from affetto.learn.experiments.tiny import tiny

WORDS = {
    "anger": "hate this terrible mess",
    "happiness": "what a lovely day",
    "sadness": "they cry all alone",
}


def write_corpus(folder, people=4, each=3):
    """Tones, words and striped pictures, a kind per emotion, each with people of its own."""
    rng, rows = np.random.default_rng(0), []
    for place, (emotion, words) in enumerate(WORDS.items()):
        for person in range(people):
            for i in range(each):
                name = f"{emotion}{person}{i}"
                time = np.arange(8000) / 16000
                soundfile.write(
                    folder / f"{name}.wav", 0.3 * np.sin(2 * np.pi * 200 * 3**place * time), 16000
                )
                face = np.full((48, 48), 90) + rng.integers(0, 20, (48, 48))
                face[16 * place : 16 * place + 16] += 90
                Image.fromarray(face.astype(np.uint8)).save(folder / f"{name}.png")
                for kind, path, text in (
                    ("s", f"{name}.wav", ""),
                    ("t", "", f"{words} {person} {i}"),
                    ("v", f"{name}.png", ""),
                ):
                    rows.append((f"{kind}{name}", path, text, emotion, f"p{person}"))
    with open(folder / "corpus.csv", "w", newline="") as file:
        csv.writer(file).writerows([("id", "path", "text", "emotion", "speaker"), *rows])
    return folder / "corpus.csv"


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["train", *map(str, arguments)])
    return stopped.value.code


@pytest.fixture
def no_bundle(monkeypatch):
    from affetto.learn.export import deliver

    monkeypatch.setattr(deliver, "deliver", lambda result, clips, corpora, out: SimpleNamespace(path=out))


def settings(corpus, *more):
    return [word for setting in (f"data.corpora.0.path={corpus}", *more) for word in ("--set", setting)]


def one_stage(folder):
    """A YAML file with the text stage of `tiny` alone: a run of a second."""
    from dataclasses import replace

    config = tiny()
    (stage,) = (stage for stage in config.train.stages if stage.name == "text")
    config = replace(
        config,
        name="words",
        model=replace(config.model, speech=None, vision=None),
        train=replace(config.train, stages=(replace(stage, epochs=1),)),
    )
    path = folder / "words.yaml"
    path.write_text(to_yaml(config))
    return path


def test_a_yaml_file_is_trained_and_not_overwritten_but_resumed(tmp_path, capsys, no_bundle):
    corpus, config = write_corpus(tmp_path, people=4, each=1), one_stage(tmp_path)
    arguments = [config, "-o", tmp_path / "run", *settings(corpus)]
    assert run(*arguments) == 0
    out = capsys.readouterr().out
    assert "words: 27 train, 9 validation, 0 test clips" in out
    assert "stage text: 1 steps" in out
    assert "emotion" in out
    assert f"next: affetto predict FILE --bundle {tmp_path / 'run' / 'bundle'}" in out
    assert (tmp_path / "run" / "metrics.jsonl").is_file()
    assert run(*arguments) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(*arguments, "--resume") == 0
    assert run(*arguments, "--resume", "--set", "seed=5") == 2
    assert "other settings (seed)" in capsys.readouterr().err


def test_find_lr_draws_a_curve_and_trains_nothing(tmp_path, capsys, monkeypatch):
    from affetto.learn.training import rate_finder

    monkeypatch.setattr(rate_finder, "STEPS", 5)
    corpus, config = write_corpus(tmp_path, people=4, each=1), one_stage(tmp_path)
    picture = tmp_path / "rates.png"
    assert run(config, "-o", tmp_path / "run", *settings(corpus), "--find-lr", picture) == 0
    assert "try --set train.stages.0.lr=" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tinny"], "did you mean 'tiny'? [experiment_unknown]"),
        (["tiny", "--set", "train.stage=1"], "[config_unknown_key]"),
        (["tiny", "--set", "seed"], "[config_invalid]"),
        (["missing.yaml"], "[config_invalid]"),
        (["missing.csv"], "[manifest_not_found]"),
        (["tiny"], "[manifest_not_found]"),
        (["distil_text"], "stage text: distil.teacher runs/text_lora/bundle is not there"),
    ],
)
def test_what_cannot_be_trained_is_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err.replace("; a YAML file works as well", "")
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_leak_is_refused_with_the_name(tmp_path, capsys):
    rows = [("1", "good day", "happiness", "ann", "train"), ("2", "bad day", "sadness", "ann", "validation")]
    with open(tmp_path / "leak.csv", "w", newline="") as file:
        csv.writer(file).writerows([("id", "text", "emotion", "speaker", "split"), *rows])
    assert run(tmp_path / "leak.csv", "-o", tmp_path / "run") == 2
    message = capsys.readouterr().err
    assert "ann" in message
    assert "[split_leak]" in message
    assert not (tmp_path / "run").exists()


def test_without_torch_the_extra_is_named(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "torch" else real(name))
    with pytest.raises(ConfigError, match=r'training needs torch: pip install "affetto\[train\]"') as error:
        command.require_extra()
    assert error.value.code == "extra_missing"


def test_a_manifest_gets_an_experiment_of_its_own(tmp_path):
    config = command.find_config(str(write_corpus(tmp_path, people=1, each=1)))
    assert config.name == "corpus"
    assert [stage.name for stage in config.train.stages] == ["speech", "text", "vision", "fusion"]
    assert config.model.tasks[0].labels == tuple(WORDS)


@pytest.mark.parametrize("how", [(), ("--adapt", "all"), ("--adapt", "none")])
def test_a_manifest_of_one_emotion_teaches_nothing(tmp_path, capsys, how):
    rows = "".join(f"text {i},speaker{i},anger\n" for i in range(6))
    (tmp_path / "angry.csv").write_text(f"text,speaker,emotion\n{rows}")
    assert run(tmp_path / "angry.csv", "-o", tmp_path / "run", *how) == 2
    assert "'anger'" in (message := capsys.readouterr().err)
    assert "[nothing_to_predict]" in message


def test_help_needs_no_torch():
    code = "import sys; from affetto.cli.train import train; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_a_run_ends_in_a_bundle_that_answers(tmp_path, capsys):
    import affetto

    corpus = write_corpus(tmp_path)
    more = [f"train.stages.{i}.epochs={n}" for i, n in enumerate((16, 16, 16, 3))]
    assert run("tiny", "-o", tmp_path / "run", *settings(corpus, *more)) == 0
    predictor = affetto.load(tmp_path / "run" / "bundle")
    answer = predictor.predict(
        speech=tmp_path / "sadness00.wav", text=WORDS["sadness"], vision=tmp_path / "sadness00.png"
    )
    assert max(answer.probabilities, key=answer.probabilities.get) == "sadness"
    calibration = predictor.bundle.info.calibration["int8"]["emotion"]
    assert "speech+text+vision" in calibration
    assert predictor.bundle.info.corpora[0].clips
