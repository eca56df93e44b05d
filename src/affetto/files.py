"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from affetto.errors import DataError


def write_whole(path: str | Path, content: bytes) -> None:
    """Write beside `path`, sync, rename: a reader, or a crash, meets the old file or the new one, never half.

    Raises DataError `output_unwritable` (no folder, no permission, disk full); the old file is then untouched.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            "output_unwritable", f"cannot write {path}: {reason}; free space there, or choose another place"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive the power cord."""
    if os.name != "posix":  # elsewhere a folder cannot be opened, and renames are journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
