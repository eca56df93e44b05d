import os
import warnings

import pytest
import torch

from affetto.errors import DataError, TrainingError
from affetto.learn.training import checkpoint
from affetto.learn.training.checkpoint import (
    LAST,
    NEXT,
    PREVIOUS,
    read_checkpoint,
    restore_last,
    save_last,
    write_checkpoint,
)


def state(step):
    return {
        "step": step,
        "weights": torch.full((50,), float(step)),
        "history": [{"loss": 0.5, "score": None}],
    }


def corruptions(path):
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    return {
        "empty": b"",
        "beginning": content[:20],
        "truncated": content[:-1],
        "flipped": bytes(flipped),
        "longer": content + b"\0",
        "other": b"PK\x03\x04" + content,
    }


def test_a_state_comes_back_as_it_was(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", state(3))
    found = read_checkpoint(tmp_path / "a.ckpt")
    assert found["step"] == 3
    assert found["history"] == [{"loss": 0.5, "score": None}]
    assert torch.equal(found["weights"], state(3)["weights"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize("kind", ["empty", "beginning", "truncated", "flipped", "longer", "other"])
def test_a_corrupt_last_falls_back_to_the_one_before_with_a_warning(tmp_path, kind):
    for step in (1, 2):
        save_last(tmp_path, state(step))
    last = tmp_path / LAST
    last.write_bytes(corruptions(last)[kind])
    with pytest.warns(RuntimeWarning, match=r"last\.ckpt cannot be read.*going on from previous\.ckpt"):
        assert restore_last(tmp_path)["step"] == 1


def test_only_corrupt_checkpoints_are_an_error_and_stay(tmp_path):
    for step in (1, 2):
        save_last(tmp_path, state(step))
    for name in (LAST, PREVIOUS):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(TrainingError, match=r"last\.ckpt.*previous\.ckpt") as error:
        restore_last(tmp_path)
    assert error.value.code == "checkpoint_corrupt"
    assert (tmp_path / LAST).read_bytes() == b"x"


def test_nothing_saved_is_nothing_to_restore(tmp_path):
    assert restore_last(tmp_path / "missing") is None


@pytest.mark.parametrize("stop_at", range(4))
def test_a_crash_at_any_rename_loses_at_most_one_save(tmp_path, monkeypatch, stop_at):
    for step in (1, 2):
        save_last(tmp_path, state(step))
    calls = []

    def crash(source, target):
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        calls.append(target)
        real(source, target)

    real = os.replace
    monkeypatch.setattr(checkpoint.os, "replace", crash)
    if stop_at < 3:
        with pytest.raises(KeyboardInterrupt):
            save_last(tmp_path, state(3))
    else:
        save_last(tmp_path, state(3))
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert restore_last(tmp_path)["step"] == (2 if stop_at == 0 else 3)
    save_last(tmp_path, state(4))
    assert restore_last(tmp_path)["step"] == 4
    assert not (tmp_path / NEXT).exists()


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    save_last(tmp_path, state(1))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device") as error:
        save_last(tmp_path, state(2))
    assert error.value.code == "output_unwritable"
    monkeypatch.undo()
    assert restore_last(tmp_path)["step"] == 1
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_reading_runs_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "trapped"),))

    write_checkpoint(tmp_path / "trap.ckpt", {"x": Trap()})
    with pytest.raises(TrainingError) as error:
        read_checkpoint(tmp_path / "trap.ckpt")
    assert error.value.code == "checkpoint_corrupt"
    assert not (tmp_path / "trapped").exists()
