import errno
import os
import resource
import signal
import warnings

import pytest
import torch

from affetto.errors import DataError, TrainingError
from affetto.learn.training import checkpoint
from affetto.learn.training.checkpoint import (
    LAST,
    NEXT,
    PREVIOUS,
    clear_parts,
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


def limited(folder, size, saves):
    """Saves in a process that may write files of `size` bytes at most, as on a full disk; its message."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for step in range(2, 2 + saves):
            save_last(folder, state(step))
    except DataError as error:
        os._exit(0 if "File too large" in str(error) and error.code == "output_unwritable" else 1)
    os._exit(2)


@pytest.mark.parametrize("size", [0, 100, 1000])
def test_a_disk_that_is_full_at_any_byte_keeps_the_old_checkpoint(tmp_path, size):
    save_last(tmp_path, state(1))
    child = os.fork()
    if not child:
        limited(tmp_path, size, 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [LAST]
    assert restore_last(tmp_path)["step"] == 1


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path, monkeypatch):
    save_last(tmp_path, state(1))

    def refused(self, mode="r", *rest):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(type(tmp_path), "open", refused)
    with pytest.raises(
        DataError, match="Read-only file system; free space there, or choose another"
    ) as error:
        save_last(tmp_path, state(2))
    assert error.value.code == "output_unwritable"
    monkeypatch.undo()
    assert restore_last(tmp_path)["step"] == 1


def test_as_many_states_are_kept_as_asked_and_the_newest_good_one_is_found(tmp_path):
    for step in range(1, 7):
        save_last(tmp_path, state(step), keep=4)
    kept = {LAST: 6, PREVIOUS: 5, "previous-2.ckpt": 4, "previous-3.ckpt": 3}
    assert {path.name: read_checkpoint(path)["step"] for path in tmp_path.iterdir()} == kept
    for bad, left in ((LAST, 5), (PREVIOUS, 4), ("previous-2.ckpt", 3)):
        (tmp_path / bad).write_bytes(b"")
        with pytest.warns(RuntimeWarning):
            assert restore_last(tmp_path)["step"] == left
    (tmp_path / "one").mkdir()
    for step in (1, 2):
        save_last(tmp_path / "one", state(step), keep=1)
    assert [path.name for path in (tmp_path / "one").iterdir()] == [LAST]


def test_what_a_killed_writer_left_is_cleared(tmp_path):
    save_last(tmp_path, state(1))
    (tmp_path / ".next.ckpt.123.part").write_bytes(b"half")
    clear_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_a_checkpoint_is_synced_before_it_gets_its_name_and_the_folder_after(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            checkpoint.os, name, lambda *a, name=name, real=real: (done.append(name), real(*a))[1]
        )
    save_last(tmp_path, state(1))
    assert done == ["fsync", "replace", "fsync", "replace", "fsync"]


def test_reading_runs_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "trapped"),))

    write_checkpoint(tmp_path / "trap.ckpt", {"x": Trap()})
    with pytest.raises(TrainingError) as error:
        read_checkpoint(tmp_path / "trap.ckpt")
    assert error.value.code == "checkpoint_corrupt"
    assert not (tmp_path / "trapped").exists()
