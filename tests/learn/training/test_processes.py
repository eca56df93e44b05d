"""Several ranks against one process: the same losses, metrics and weights; and what happens when one is lost."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from affetto.cli.launch import launch
from affetto.errors import ConfigError
from affetto.learn import ranks
from affetto.learn.training.checkpoint import LAST, read_checkpoint
from affetto.learn.training.processes import joined
from affetto.learn.training.shards import own_rows
from affetto.records import Batch, Track

SCRIPT = str(Path(__file__).parent / "ranked_run.py")
TWO = "import sys; from affetto.cli.launch import launch; sys.exit(launch(sys.argv[1:], 2))"


def start(folder, devices):
    command = [sys.executable, SCRIPT, str(folder), str(devices)]
    both = [sys.executable, "-c", TWO, *command] if devices else command
    return subprocess.Popen(both, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def losses(run):
    said, errors = run.communicate(timeout=500)
    assert run.returncode == 0, errors[-3000:]
    return [json.loads(line) for line in said.splitlines()]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder and the losses of two ranks that nothing disturbed."""
    folder = tmp_path_factory.mktemp("ranks") / "two"
    return folder, losses(start(folder, 2))


def weights(folder):
    return read_checkpoint(folder / "checkpoints" / LAST)["recogniser"]


def test_two_ranks_have_the_losses_answers_and_weights_of_one_process(two, tmp_path):
    folder, found = two
    one = losses(start(tmp_path, 0))
    assert len(one) == 17
    assert found == pytest.approx(one, rel=1e-6)
    left, right = weights(tmp_path), weights(folder)
    assert left.keys() == right.keys()
    for name, value in left.items():
        # Adam turns the noise in a gradient that is all but zero into steps of its own size.
        torch.testing.assert_close(right[name], value, rtol=1e-3, atol=2e-3)
    with (
        np.load(tmp_path / "predictions" / "validation.npz") as alone,
        np.load(folder / "predictions" / "validation.npz") as shared,
    ):
        assert alone["ids"].tolist() == shared["ids"].tolist()
        assert len(set(shared["ids"].tolist())) == 27
        for name in (name for name in alone.files if name != "ids"):
            np.testing.assert_allclose(shared[name], alone[name], atol=5e-3, err_msg=name)


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_run_and_it_resumes_bit_for_bit(two, tmp_path):
    folder, whole = two
    run = start(tmp_path, 2)
    before = [json.loads(run.stdout.readline()) for _ in range(5)]
    os.kill(next(pid for pid in children(run.pid) if b"RANK=1" in environment(pid)), signal.SIGKILL)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "process 1 of 2 was ended by signal 9 [process_lost]" in errors
    after = losses(start(tmp_path, 2))
    assert before == whole[:5]
    assert after == whole[len(whole) - len(after) :]
    left, right = weights(folder), weights(tmp_path)
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def children(pid):
    return [int(found) for found in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def environment(pid):
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def test_sigterm_reaches_all_ranks():
    waits = "import os, signal, sys; os.write(1, b'up\\n'); signal.sigwait({signal.SIGTERM}); sys.exit(7)"
    waits = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}); " + waits
    run = subprocess.Popen(
        [sys.executable, "-c", TWO, sys.executable, "-c", waits], stdout=subprocess.PIPE, text=True
    )
    assert [run.stdout.readline() for _ in range(2)] == ["up\n", "up\n"]
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=20) == 7


def test_the_error_of_the_rank_that_failed_first_is_told(capfd):
    fails = (
        "import os, sys, time; sys.exit('rank one fails') if os.environ['RANK'] == '1' else time.sleep(0.5)"
    )
    assert launch([sys.executable, "-c", fails], 2) == 1
    assert capfd.readouterr().err == "rank one fails\n"


def test_one_process_cannot_be_two_devices(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(ConfigError, match="torchrun --nproc-per-node 2"), joined(2):
        pass


@pytest.mark.parametrize(("rows", "count"), [(7, 2), (1, 2), (9, 4), (3, 5), (8, 1)])
def test_shares_cover_every_row_once(rows, count, monkeypatch):
    monkeypatch.setattr(ranks, "count", lambda: count)
    taken = []
    for rank in range(count):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        taken += range(rows)[ranks.share(rows)]
    assert taken == list(range(rows))


@pytest.mark.parametrize(("rows", "count"), [(7, 2), (1, 2), (9, 4), (3, 5)])
def test_every_rank_has_as_many_rows_of_which_the_real_ones_make_up_the_batch(rows, count, monkeypatch):
    values = torch.arange(float(rows))[:, None].expand(rows, 3)
    batch = Batch(
        {"speech": Track(values, torch.ones(rows, 3, dtype=torch.bool))},
        {"emotion": values},
        {"emotion": torch.ones(rows, dtype=torch.bool)},
        tuple(map(str, range(rows))),
    )
    monkeypatch.setattr(ranks, "count", lambda: count)
    real, sizes, ids = [], set(), []
    for rank in range(count):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        own = own_rows(batch)
        track = own.inputs["speech"]
        real.append(track.values[track.mask.all(dim=1)])
        assert torch.equal(track.mask.any(dim=1), track.mask.all(dim=1))
        sizes |= {len(track.values), len(own.targets["emotion"]), len(own.target_mask["emotion"])}
        ids += own.ids
    assert torch.equal(torch.cat(real), values)
    assert sizes == {-(-rows // count)}
    assert ids == list(batch.ids)


def test_alone_everything_comes_back_as_it_is():
    rows = torch.randn(3, 2, requires_grad=True)
    assert ranks.gather_rows(rows, 3) is rows
    assert ranks.summed(rows) is rows
    assert ranks.any_of(True, False) == [True, False]
