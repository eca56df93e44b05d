"""Where bytes come from: a path, bytes, standard input (`-`) or a zip member (`archive.zip#member`).

Everything is handed on as one seekable binary file. A plain file is read from disk as needed; whatever has
to be held in memory (bytes, pipes, zip members) is bounded. Nothing is ever fetched, extracted or written.
"""

from __future__ import annotations

import io
import os
import re
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

from affetto.errors import MediaError


@dataclass(frozen=True, slots=True)
class Named:
    """A path or bytes, and the name that messages use for it: what a person knows the upload by."""

    source: str | Path | bytes
    name: str


#: A path (also `-` and `archive.zip#member`), or the bytes of a file; with a name of its own or without.
MediaSource = str | Path | bytes | Named

_MEMBER = re.compile(r"(?i)(.+?\.zip)#(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class OpenSource:
    """An open, seekable file, its size in bytes, and the name that messages use for it."""

    file: BinaryIO
    size: int
    name: str


@contextmanager
def open_source(source: MediaSource, *, max_bytes: int) -> Iterator[OpenSource]:
    """Open `source` for reading; `max_bytes` bounds what is held in memory: bytes, standard input, pipes
    and zip members.

    Raises MediaError: media_not_found, media_unreadable, media_too_large.
    """
    source, name = named(source)
    if isinstance(source, bytes):
        check_size(len(source), max_bytes, name)
        yield OpenSource(io.BytesIO(source), len(source), name)
        return
    text = os.fspath(source)
    if text == "-":
        data = read_stdin(max_bytes)
        yield OpenSource(io.BytesIO(data), len(data), name)
        return
    member = split_member(text)
    if member is not None:
        data = _read_member(*member, max_bytes, name)
        yield OpenSource(io.BytesIO(data), len(data), name)
        return
    with _open_path(text, name) as file:
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):
            yield OpenSource(file, status.st_size, name)
        else:  # a pipe or a device: no seeking, so it is held in memory
            data = _read_bounded(file, max_bytes, name)
            yield OpenSource(io.BytesIO(data), len(data), name)


def named(source: MediaSource) -> tuple[str | Path | bytes, str]:
    """The source and what messages call it. Raises TypeError for what is neither a path nor bytes."""
    name = None
    if isinstance(source, Named):
        name, source = source.name, source.source
    if isinstance(source, (bytearray, memoryview)):
        source = bytes(source)
    if isinstance(source, bytes):
        return source, printable(name or "<bytes>")
    if isinstance(source, (str, Path)):
        return source, printable(name or ("<stdin>" if os.fspath(source) == "-" else os.fspath(source)))
    raise TypeError(f"a media source is a path or bytes, not {type(source).__name__}")


def read_stdin(max_bytes: int) -> bytes:
    """All of standard input, at most `max_bytes`. Raises MediaError media_too_large."""
    return _read_bounded(sys.stdin.buffer, max_bytes, "<stdin>")


def check_size(size: int, max_bytes: int, name: str) -> None:
    """Raises MediaError media_too_large."""
    if size > max_bytes:
        raise MediaError(
            "media_too_large",
            f"{name}: more than {max_bytes / 2**20:g} MiB, the limit of what is held in memory; "
            "save it as a file of its own, or raise max_bytes",
        )


def split_member(path: str) -> tuple[str, str] | None:
    """(archive, member) of `archive.zip#member`; None for a plain path, also one with a `#` in its name."""
    match = _MEMBER.fullmatch(path)
    if match is None or os.path.exists(path):
        return None
    return match[1], match[2]


def printable(name: str) -> str:
    """`name` on one line, without control characters, for messages."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _open_path(path: str, name: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except IsADirectoryError:
        raise MediaError("media_unreadable", f"{name}: a folder, where a file is expected") from None
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
        hint = "addresses are not fetched, download it first" if "://" in path else "check the path"
        raise MediaError("media_not_found", f"{name}: there is no such file; {hint}") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise MediaError(
            "media_unreadable", f"{name}: cannot be opened ({reason}); check its permissions"
        ) from None


def _read_bounded(file: BinaryIO, max_bytes: int, name: str) -> bytes:
    try:
        data = file.read(max_bytes + 1)
    except OSError as error:
        raise MediaError("media_unreadable", f"{name}: cannot be read ({error.strerror})") from None
    check_size(len(data), max_bytes, name)
    return data


def _read_member(archive: str, member: str, max_bytes: int, name: str) -> bytes:
    try:
        status = os.stat(archive)
    except (OSError, ValueError):
        raise MediaError("media_not_found", f"{name}: there is no archive of that name") from None
    try:
        zipped = _archive(archive, status.st_mtime_ns, status.st_size, os.getpid())
        info = zipped.getinfo(member)
        check_size(info.file_size, max_bytes, name)
        with zipped.open(info) as file:
            return _read_bounded(cast(BinaryIO, file), max_bytes, name)
    except KeyError:
        raise MediaError("media_not_found", f"{name}: the archive has no such member") from None
    # RuntimeError: encrypted; NotImplementedError: a compression that zipfile does not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        reason = printable(str(error)) or type(error).__name__
        raise MediaError("media_unreadable", f"{name}: the archive cannot be read ({reason})") from None


@lru_cache(maxsize=2)
def _archive(path: str, modified: int, size: int, process: int) -> zipfile.ZipFile:
    """An open archive: reading the directory of a corpus once per picture would cost more than the pictures.

    The time and size notice a changed file; the process keeps a forked loader from sharing a file position.
    """
    return zipfile.ZipFile(path)
