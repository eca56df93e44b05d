"""The index on disk: a folder of shards, each an array of vectors beside the facts of every row.

    index.json        format, the bundle that made the vectors, the shards that count
    NUMBER.npy        [R D] float32, memory-mapped, rows of unit length
    NUMBER.jsonl      an Entry per row
    approximate/      what `approximate.py` made of the shards

`index.json` is written last, whole: a shard that it does not name does not exist, so a run that is killed loses
only what it had not yet appended. Shards never change; removing rows writes new ones. One process may write.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from affetto.errors import DataError
from affetto.files import write_whole

CONTENTS = "index.json"
FORMAT = 1
SHARD_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one row: the clip, which of its media, and which part of it in seconds.

    `date` is when it was recorded, as `utc` writes it; `stamp` changes with everything that the row was made of.
    """

    id: str
    modality: str
    file: str | None = None
    start: float | None = None
    end: float | None = None
    text: str | None = None
    corpus: str | None = None
    speaker: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    date: str | None = None
    stamp: str = ""

    @property
    def clip(self) -> tuple[str | None, str]:
        """What stays the same when a clip changes."""
        return self.corpus, self.id


def utc(date: str) -> str:
    """An ISO 8601 date or time in the one form whose order is that of time; UTC where it does not say.

    Raises ValueError for what is neither.
    """
    moment = datetime.fromisoformat(date)
    return (
        (moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        .astimezone(UTC)
        .isoformat(timespec="seconds")
    )


@dataclass(frozen=True, slots=True)
class Origin:
    """What made the vectors: the sha256, name and place (None: the shipped one) of the bundle, and the kind of
    space, "embedding" or "emotions"."""

    sha256: str
    name: str
    path: str | None
    kind: str
    width: int


class Shard:
    """Rows that were written together."""

    def __init__(self, folder: Path, name: str, rows: int, width: int) -> None:
        """Raises DataError `index_invalid` where the files are not what `index.json` says."""
        self.name = name
        self._facts = folder / f"{name}.jsonl"
        try:
            # A plain view: rows of a memmap are ten times as slow to take.
            self.vectors = np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))
            self._bytes = np.memmap(self._facts, np.uint8, "r")
        except (OSError, ValueError) as error:
            raise _damaged(folder, f"shard {name} cannot be read ({error})") from error
        if self.vectors.shape != (rows, width) or self.vectors.dtype != np.float32:
            found = f"{self.vectors.dtype} {list(self.vectors.shape)}"
            raise _damaged(folder, f"shard {name} holds {found}, expected float32 [{rows}, {width}]")

    def __len__(self) -> int:
        return len(self.vectors)

    def entry(self, row: int) -> Entry:
        """The facts of a row."""
        start = self._ends[row - 1] + 1 if row else 0
        return _entry(self._bytes[start : self._ends[row]].tobytes())

    def entries(self) -> Iterator[Entry]:
        """The facts of all rows, in order."""
        with self._facts.open("rb") as lines:
            yield from map(_entry, lines)

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.flatnonzero(self._bytes == ord("\n"))


class Store:
    """An index that is there. Rows are numbered through its shards; numbers change with every removal."""

    def __init__(self, folder: str | Path) -> None:
        """Open an index. Raises DataError `index_not_found`, `index_invalid`."""
        self.folder = Path(folder)
        path = self.folder / CONTENTS
        if not path.is_file():
            raise DataError(
                "index_not_found",
                f"{folder} is no index of clips: make one with `affetto index FOLDER -o {folder}`",
            )
        try:
            contents = json.loads(path.read_bytes())
            if contents["format"] != FORMAT:
                raise _damaged(self.folder, f"format {contents['format']!r}, expected {FORMAT}")
            self.origin = Origin(**contents["origin"])
            shards = [(str(name), int(rows)) for name, rows in contents["shards"]]
            self._next = int(contents["next"])
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(self.folder, f"{CONTENTS} cannot be understood ({error})") from error
        self.shards = [Shard(self.folder, name, rows, self.origin.width) for name, rows in shards]

    @classmethod
    def create(cls, folder: str | Path, origin: Origin) -> Store:
        """Begin an empty index. Raises DataError `output_unwritable`."""
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError("output_unwritable", f"cannot make {folder}: {error.strerror}") from error
        _write_contents(folder, origin, [], 0)
        return cls(folder)

    def __len__(self) -> int:
        return sum(map(len, self.shards))

    @property
    def firsts(self) -> list[int]:
        """The number of each shard's first row."""
        return [0, *accumulate(map(len, self.shards))][:-1]

    def entries(self) -> Iterator[Entry]:
        """The facts of all rows, in order."""
        for shard in self.shards:
            yield from shard.entries()

    def entry(self, row: int) -> Entry:
        """The facts of a row."""
        shard, place = self._find(row)
        return shard.entry(place)

    def vectors(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """The vectors [K D] of rows."""
        firsts = self.firsts
        places = zip(np.searchsorted(firsts, rows, side="right") - 1, rows, strict=True)
        found = [self.shards[shard].vectors[row - firsts[shard]] for shard, row in places]
        return np.array(found, np.float32).reshape(-1, self.origin.width)

    def append(self, vectors: np.ndarray, entries: Sequence[Entry]) -> None:
        """Add rows [R D]; when this returns they outlive a crash. Raises DataError `output_unwritable`."""
        self._commit([*self.shards, self._write(vectors, entries)])

    def remove(self, unwanted: Callable[[Entry], bool]) -> int:
        """Drop rows, and merge shards that are small; how many were dropped."""
        before = len(self)
        small = [shard for shard in self.shards if len(shard) < SHARD_ROWS // 2]
        if len(small) < 2 and not any(map(unwanted, self.entries())):
            return 0
        kept: list[Shard] = []
        rows: list[np.ndarray] = []
        facts: list[Entry] = []
        for shard in self.shards:
            entries = list(shard.entries())
            wanted = [row for row, entry in enumerate(entries) if not unwanted(entry)]
            if len(wanted) == len(shard) >= SHARD_ROWS // 2:
                kept.append(shard)
                continue
            rows += [shard.vectors[row] for row in wanted]
            facts += [entries[row] for row in wanted]
            while len(rows) >= SHARD_ROWS:
                kept.append(self._write(np.stack(rows[:SHARD_ROWS]), facts[:SHARD_ROWS]))
                rows, facts = rows[SHARD_ROWS:], facts[SHARD_ROWS:]
        if rows:
            kept.append(self._write(np.stack(rows), facts))
        self._commit(kept)
        self._sweep()
        return before - len(self)

    def _find(self, row: int) -> tuple[Shard, int]:
        firsts = self.firsts
        shard = int(np.searchsorted(firsts, row, side="right")) - 1
        return self.shards[shard], row - firsts[shard]

    def _write(self, vectors: np.ndarray, entries: Sequence[Entry]) -> Shard:
        name = f"{self._next:06d}"
        self._next += 1
        array = io.BytesIO()
        np.save(array, np.ascontiguousarray(vectors, np.float32))
        write_whole(self.folder / f"{name}.npy", array.getvalue())
        lines = (json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries)
        write_whole(self.folder / f"{name}.jsonl", "".join(lines).encode(errors="replace"))
        return Shard(self.folder, name, len(entries), self.origin.width)

    def _commit(self, shards: list[Shard]) -> None:
        _write_contents(self.folder, self.origin, [(shard.name, len(shard)) for shard in shards], self._next)
        self.shards = shards

    def _sweep(self) -> None:
        """Delete the shards that no longer count."""
        known = {shard.name for shard in self.shards}
        for path in self.folder.glob("[0-9]*.*"):
            if path.suffix in (".npy", ".jsonl") and path.stem not in known:
                path.unlink(missing_ok=True)


def _write_contents(folder: Path, origin: Origin, shards: Sequence[tuple[str, int]], following: int) -> None:
    contents: dict[str, Any] = {
        "format": FORMAT,
        "origin": asdict(origin),
        "shards": shards,
        "next": following,
    }
    write_whole(folder / CONTENTS, json.dumps(contents, indent=1).encode())


_FIELDS = {each.name for each in fields(Entry)}


def _entry(line: bytes) -> Entry:
    try:
        return Entry(**{name: value for name, value in json.loads(line).items() if name in _FIELDS})
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(
            "index_invalid", f"a line of facts cannot be understood ({error}): make it again"
        ) from error


def _damaged(folder: Path, what: str) -> DataError:
    return DataError("index_invalid", f"the index {folder}: {what}; make it again with `affetto index`")
