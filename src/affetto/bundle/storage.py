"""Where a bundle's files lie: a folder, or one zip of it."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from affetto.errors import BundleError

CONTRACT = "bundle.json"
_UNPACKED_LIMIT = 4 << 30  # bytes a zip may unpack to


class BundleStorage:
    """Files of a bundle, in a folder or in a zip; nothing outside either can be reached.

    Raises BundleError `bundle_not_found` where there is neither, `bundle_invalid` for a member or link that leaves
    it, a file that cannot be read, or a zip that unpacks to more than 4 GiB.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._zip: zipfile.ZipFile | None = None
        self._members: dict[str, zipfile.ZipInfo] = {}
        if root.is_file():
            self._open_zip()
        elif not root.is_dir():
            raise BundleError(
                "bundle_not_found", f"{root} does not exist: expected the folder or zip of a bundle"
            )

    def __enter__(self) -> BundleStorage:
        return self

    def __exit__(self, *_: object) -> None:
        if self._zip is not None:
            self._zip.close()

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._members if self._zip is not None else (self._root / name).is_file()

    def open(self, name: str) -> IO[bytes]:
        """The bytes of a file, as a stream."""
        try:
            if self._zip is not None:
                return self._zip.open(self._members[name])
            target = (self._root / name).resolve()
            if not target.is_relative_to(self._root.resolve()):
                raise BundleError(
                    "bundle_invalid", f"{self._root}: {name} is a link out of the bundle; refused"
                )
            return target.open("rb")
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise BundleError("bundle_invalid", f"{self._root}: {name} cannot be read: {error}") from error

    def _open_zip(self) -> None:
        try:
            self._zip = zipfile.ZipFile(self._root)
        except (OSError, zipfile.BadZipFile) as error:
            raise BundleError(
                "bundle_not_found", f"{self._root} is neither a folder nor a zip of a bundle"
            ) from error
        entries = [entry for entry in self._zip.infolist() if not entry.is_dir()]
        for entry in entries:
            if PurePosixPath(entry.filename).is_absolute() or ".." in entry.filename.replace("\\", "/").split(
                "/"
            ):
                raise BundleError(
                    "bundle_invalid", f"{self._root}: member {entry.filename!r} leaves the zip; refused"
                )
        if sum(entry.file_size for entry in entries) > _UNPACKED_LIMIT:
            raise BundleError(
                "bundle_invalid", f"{self._root} unpacks to more than {_UNPACKED_LIMIT >> 30} GiB; refused"
            )
        # A zip made of the folder itself has one folder at its top.
        tops = [entry.filename for entry in entries if PurePosixPath(entry.filename).name == CONTRACT]
        prefix = min(tops, key=len, default=CONTRACT).removesuffix(CONTRACT)
        self._members = {e.filename.removeprefix(prefix): e for e in entries if e.filename.startswith(prefix)}
