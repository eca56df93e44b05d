"""Backbones in shares against one process that holds them whole: losses, weights, what is held, what is saved."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from affetto.errors import ConfigError
from affetto.learn.config import StageConfig
from affetto.learn.training.checkpoint import LAST, read_checkpoint
from affetto.learn.training.loop import fit

SCRIPT = str(Path(__file__).parent / "sharded_run.py")
TWO = "import sys; from affetto.cli.launch import launch; sys.exit(launch(sys.argv[1:], 2))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The runs of `sharded_run.py`."""
    folder = tmp_path_factory.mktemp("shares")
    command = [sys.executable, "-c", TWO, sys.executable, SCRIPT, str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    return folder


def history(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def last(run):
    return read_checkpoint(run / "checkpoints" / LAST)["recogniser"]


def assert_bits(one, two):
    assert history(one) == history(two)
    left, right = last(one), last(two)
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


@pytest.mark.parametrize(("name", "steps"), [("words", 10), ("ears", 2)])
def test_losses_weights_and_answers_are_those_of_one_process(folder, name, steps):
    one, two = folder / f"{name}-1", folder / f"{name}-2"
    losses = [[record["loss"] for record in history(run)] for run in (one, two)]
    assert len(losses[1]) == steps
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    torch.testing.assert_close(last(two), last(one), rtol=1e-4, atol=1e-4)
    with (
        np.load(one / "predictions" / "validation.npz") as alone,
        np.load(two / "predictions" / "validation.npz") as shared,
    ):
        assert alone["ids"].tolist() == shared["ids"].tolist()
        for key in (key for key in alone.files if key != "ids"):
            np.testing.assert_allclose(shared[key], alone[key], atol=1e-4, err_msg=key)


def said(folder, rank):
    return json.loads((folder / f"rank-{rank}.json").read_text())


def test_every_rank_holds_its_share_and_after_the_stage_all(folder):
    ranks = [said(folder, 0), said(folder, 1)]
    assert all(rank["after"] == ["Parameter"] for rank in ranks)
    for one, two in zip(*(rank["held"] for rank in ranks), strict=True):
        assert one["weights"] + two["weights"] == one["of"]
        assert one["moments"] + two["moments"] == one["moments_of"]
        assert max(one["weights"], two["weights"]) < 0.6 * one["of"]
    assert ranks[0]["held"][0]["moments_of"] == 2 * ranks[0]["held"][0]["of"]


def test_a_stopped_run_goes_on_bit_for_bit_from_plain_tensors(folder):
    assert 6 < said(folder, 0)["stopped"] < 10
    assert_bits(folder / "stopped", folder / "words-2")
    assert all(type(value) is torch.Tensor for value in last(folder / "stopped").values())


@pytest.mark.slow
def test_torchrun_runs_to_its_end_and_its_bundle_answers_as_that_of_one_process(folder):
    from affetto import load
    from affetto.cli.app import main

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "affetto"]
    command = ["train", str(folder / "words.yaml"), "-o"]
    run = subprocess.run(
        [*torchrun, *command, str(folder / "torchrun")],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.count("written:") == 1
    assert_bits(folder / "torchrun", folder / "words-2")
    with pytest.raises(SystemExit) as ended:
        main([*command, str(folder / "one"), "--set", "train.devices=0", "--set", "train.sharding=none"])
    assert ended.value.code == 0
    shared, alone = (load(folder / name / "bundle") for name in ("torchrun", "one"))
    for text in ("i am so happy", "not sad today", "angry"):
        answers = [predictor.predict(text=text).probabilities for predictor in (shared, alone)]
        assert answers[0] == pytest.approx(answers[1], abs=0.01)


def test_a_stage_in_which_nothing_else_learns_is_refused_by_all(folder):
    assert "take the heads out of its freeze" in said(folder, 0)["refused"]
    assert said(folder, 0)["refused"] == said(folder, 1)["refused"]


@pytest.mark.parametrize(
    ("settings", "told"), [({}, "set train.devices to 2 or more"), ({"devices": 2}, "the model has none")]
)
def test_there_has_to_be_something_to_share_and_somebody_to_share_with(
    settings, told, make_config, clips, tmp_path
):
    config = make_config(StageConfig("s", ("text",), steps=1))
    config = replace(config, train=replace(config.train, sharding="full", **settings))
    with pytest.raises(ConfigError, match=told):
        fit(config, clips, tmp_path)
