"""Checkpoints that survive the power cord: written whole or not at all, checked by hash when read.

A file is a magic word, the sha256 of the payload, and the payload (`torch.save` of tensors, numbers, strings,
lists and dicts; read with `weights_only=True`, so that reading runs no code). `last` is kept with
those before it; `best-<stage>` holds the weights that a stage with patience goes back to.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from affetto.errors import TrainingError
from affetto.files import sync_folder, write_whole

#: Newest first; older ones are `previous-2.ckpt` and so on. `next` only lives for the moment between its own
#: writing and the renames after it.
NEXT, LAST, PREVIOUS = "next.ckpt", "last.ckpt", "previous.ckpt"

_MAGIC = b"AFFETTO1"
_DIGEST = hashlib.sha256().digest_size


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write one state atomically. Raises DataError `output_unwritable`."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    payload = buffer.getvalue()
    write_whole(path, _MAGIC + hashlib.sha256(payload).digest() + payload)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read one state onto the CPU. Raises TrainingError `checkpoint_corrupt` for any byte not as written."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _corrupt(path, error.strerror or str(error)) from error
    head = len(_MAGIC) + _DIGEST
    if len(content) < head or not content.startswith(_MAGIC):
        raise _corrupt(path, "it is not a checkpoint of affetto, or only its beginning")
    payload = memoryview(content)[head:]
    if hashlib.sha256(payload).digest() != content[len(_MAGIC) : head]:
        raise _corrupt(path, "its sha256 is not the one it was written with")
    try:
        return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever is in there, it is not what this module writes
        raise _corrupt(
            path, f"it holds more than tensors and plain values ({type(error).__name__})"
        ) from error


def save_last(folder: Path, state: Mapping[str, Any], keep: int = 2) -> None:
    """Write `last`, and keep what was last before, `keep` states in all. Raises DataError `output_unwritable`."""
    names = [NEXT, LAST, PREVIOUS, *(f"previous-{age}.ckpt" for age in range(2, keep))][: keep + 1]
    write_checkpoint(folder / NEXT, state)
    for newer, older in reversed(list(pairwise(names))):
        if (folder / newer).exists():
            os.replace(folder / newer, folder / older)
    sync_folder(folder)


def restore_last(folder: Path) -> dict[str, Any] | None:
    """The newest readable state in `folder`, or None where there is none yet.

    A `last` that cannot be read gives a warning with its reason and the one before it. When none of them can
    be read, TrainingError `checkpoint_corrupt` is raised and nothing is overwritten.
    """
    reasons = []
    older = sorted(folder.glob("previous-*.ckpt"), key=lambda path: int(path.stem.split("-")[1]))
    for path in [*(folder / name for name in (NEXT, LAST, PREVIOUS)), *older]:
        if not path.exists():
            continue
        try:
            state = read_checkpoint(path)
        except TrainingError as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            warnings.warn(f"{reason}; going on from {path.name}", RuntimeWarning, stacklevel=2)
        return state
    if reasons:
        raise TrainingError(
            "checkpoint_corrupt", "; ".join(reasons) + "; start anew in another folder with -o"
        )
    return None


def clear_parts(folder: Path) -> None:
    """Take away what a process left that was killed while it wrote. No other may be writing."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def best_path(folder: Path, stage: str) -> Path:
    """Where the best weights of a stage stand."""
    return folder / f"best-{stage}.ckpt"


def _corrupt(path: Path, reason: str) -> TrainingError:
    return TrainingError("checkpoint_corrupt", f"checkpoint {path} cannot be read: {reason}")
