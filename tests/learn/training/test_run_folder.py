import errno
import json
import multiprocessing
import os
from dataclasses import replace

import pytest

from affetto.errors import DataError, MediaError, TrainingError
from affetto.learn.config import (
    ExperimentConfig,
    ModelConfig,
    SpeechConfig,
    StageConfig,
    TrainConfig,
    from_yaml,
)
from affetto.learn.training.run_folder import open_run

CONFIG = ExperimentConfig(
    "a",
    model=ModelConfig(speech=SpeechConfig()),
    train=TrainConfig((StageConfig("s", ("speech",), epochs=1),)),
)
SCORES = {"emotion.speech.uar": 0.4}
RECORD = {
    "stage": "s",
    "step": 3,
    "epoch": 1.0,
    "loss": 0.5,
    "score": 0.4,
    "scores": {"emotion.speech.uar": 0.4},
}


def test_a_new_folder_gets_the_config(tmp_path):
    with open_run(tmp_path / "runs" / "x", CONFIG) as run:
        assert from_yaml((run.path / "config.yaml").read_text()) == CONFIG


def started(path):
    """A run that has saved something."""
    with open_run(path, CONFIG) as run:
        (run.checkpoints / "last.ckpt").write_bytes(b"")


def test_a_run_is_not_overwritten_but_resumed(tmp_path):
    started(tmp_path)
    with pytest.raises(TrainingError, match="--resume") as error, open_run(tmp_path, CONFIG):
        pass
    assert error.value.code == "run_exists"
    with open_run(tmp_path, CONFIG, resume=True):
        pass


def test_a_run_with_other_settings_is_refused_by_name(tmp_path):
    started(tmp_path)
    stage = replace(CONFIG.train.stages[0], lr=0.5)
    other = replace(CONFIG, seed=7, train=replace(CONFIG.train, stages=(stage,)))
    named = r"\(seed, train\.stages\.0\.lr\)"
    with pytest.raises(TrainingError, match=named), open_run(tmp_path, other, resume=True):
        pass


def test_a_setting_that_came_later_has_its_default_in_an_older_run(tmp_path):
    started(tmp_path)
    stored = tmp_path / "config.yaml"
    lines = [line for line in stored.read_text().splitlines() if "keep:" not in line]
    stored.write_text("\n".join(lines))
    with open_run(tmp_path, CONFIG, resume=True) as run:
        assert run.keep == 2


def test_what_a_killed_run_was_writing_is_cleared(tmp_path):
    started(tmp_path)
    (tmp_path / "checkpoints" / ".next.ckpt.9.part").write_bytes(b"half")
    with open_run(tmp_path, CONFIG, resume=True) as run:
        assert [path.name for path in run.checkpoints.iterdir()] == ["last.ckpt"]


def test_a_run_that_saved_nothing_gives_way(tmp_path):
    with open_run(tmp_path, CONFIG) as run:
        run.tokenizer.write_text("of other texts")
    other = replace(CONFIG, seed=7)
    with open_run(tmp_path, other) as run:
        assert from_yaml((run.path / "config.yaml").read_text()) == other
        assert not run.tokenizer.exists()


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(TrainingError, match="holds other files"), open_run(tmp_path, CONFIG):
        pass


def test_a_run_that_was_killed_over_its_first_file_is_none(tmp_path):
    (tmp_path / ".lock").write_text("")
    (tmp_path / ".config.yaml.77.part").write_text("half")
    with open_run(tmp_path, CONFIG, resume=True) as run:
        run.write_tokenizer("{}")
    assert {entry.name for entry in tmp_path.iterdir()} == {
        ".lock",
        "config.yaml",
        "tokenizer.json",
        "checkpoints",
        "predictions",
    }


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(DataError) as error, open_run(tmp_path / "x", CONFIG):
        pass
    assert error.value.code == "output_unwritable"


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(DataError, match="Read-only file system; choose") as error, open_run(tmp_path, CONFIG):
        pass
    assert error.value.code == "output_unwritable"


def _try(path, answers):
    try:
        with open_run(path, CONFIG, resume=True):
            answers.put("opened")
    except TrainingError as error:
        answers.put(str(error))


def test_two_trainers_cannot_share_a_folder(tmp_path):
    spawn = multiprocessing.get_context("fork")
    answers = spawn.Queue()
    with open_run(tmp_path, CONFIG):
        process = spawn.Process(target=_try, args=(tmp_path, answers))
        process.start()
        assert "another process is training" in answers.get(timeout=20)
        process.join()
    process = spawn.Process(target=_try, args=(tmp_path, answers))
    process.start()
    assert answers.get(timeout=20) == "opened"
    process.join()


def test_metrics_curves_and_unreadable_clips(tmp_path):
    with open_run(tmp_path, CONFIG) as run:
        run.write_metrics([RECORD])
        run.write_metrics([RECORD, {**RECORD, "step": 6, "scores": {}}])
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [3, 6]
        run.write_curves([RECORD, {**RECORD, "step": 6, "scores": {}}, {**RECORD, "stage": "t"}])
        assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
        run.write_unreadable({("c", "1"): MediaError("audio_empty", "a.wav: no bytes, send some")})
        assert "c,1,audio_empty" in (tmp_path / "unreadable.csv").read_text()
