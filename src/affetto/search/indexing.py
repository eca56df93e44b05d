"""Clips into a store: what is there already is left alone, what changed is replaced, what fails is told."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from affetto.errors import AffettoError, DataError
from affetto.predictor import Predictor
from affetto.predictor.inputs import Decoder
from affetto.records import Clip, Label
from affetto.search.space import parts_of, space_for
from affetto.search.store import Entry, Origin, Store, utc

_APPEND_ROWS, _APPEND_SECONDS = 512, 10.0


@dataclass
class Report:
    """What a run did: clips added, clips that were there, rows dropped, and the clips that failed with why."""

    added: int = 0
    known: int = 0
    dropped: int = 0
    failed: list[tuple[Clip, AffettoError]] = field(default_factory=list)


def index_clips(
    store: Store,
    clips: Sequence[Clip],
    predictor: Predictor,
    decoder: Decoder,
    *,
    progress: Callable[[Sequence[Clip]], Iterable[Clip]] = iter,
) -> Report:
    """Add the clips that the store does not have as they are now; drop what it had of those that changed.

    A clip is known by its corpus and id, and has changed when its facts, or size or time of its files, have.
    What was embedded is appended every 10 s or 512 rows, so a run that is killed loses no more than that.
    `progress` is handed the clips to embed and gives them back, as a progress bar does. Raises DataError
    `index_of_another_bundle`, `clip_duplicate`, `output_unwritable`; what ails a clip is reported instead.
    """
    require_same_bundle(store.origin, predictor)
    stamps = _stamps(clips)
    there = {entry.stamp for entry in store.entries()}
    fresh = [clip for clip in _once(clips) if stamps[clip.corpus, clip.id] not in there]
    report = Report(known=len(stamps) - len(fresh))
    pending = _Pending(store)
    space = space_for(predictor)
    for clip in progress(fresh):
        try:
            parts = list(parts_of(clip, space, predictor, decoder))
            stamp = stamps[clip.corpus, clip.id]
            entries = [_entry(clip, part.modality, part.start, part.end, stamp) for part in parts]
        except AffettoError as error:
            report.failed.append((clip, error))
            continue
        pending.add([part.vector for part in parts], entries)
        report.added += 1
    pending.append()
    report.dropped = store.remove(lambda entry: entry.stamp != stamps.get(entry.clip, entry.stamp))
    return report


def remove_clips(store: Store, names: Iterable[str]) -> int:
    """Drop the rows of clips by id, by file, or by a folder above it; how many rows. Raises DataError
    `nothing_to_predict` for a name that no clip has."""
    asked = {name: os.path.abspath(name) for name in names}
    found: set[str] = set()

    def unwanted(entry: Entry) -> bool:
        hits = {
            name
            for name, path in asked.items()
            if name == entry.id or (entry.file or "").startswith((f"{path}{os.sep}", f"{path}#"))
            or path == entry.file
        }  # fmt: skip
        found.update(hits)
        return bool(hits)

    dropped = store.remove(unwanted)
    missing = [name for name in asked if name not in found]
    if missing:
        raise DataError(
            "nothing_to_predict", f"the index {store.folder} holds no clip, file or folder {missing[0]}"
        )
    return dropped


def require_same_bundle(theirs: Origin, predictor: Predictor) -> None:
    """Raises DataError `index_of_another_bundle` where an index's vectors are of another space."""
    ours = predictor.bundle
    if ours.sha256 != theirs.sha256:
        raise DataError(
            "index_of_another_bundle",
            f"the index was made with {theirs.name} ({theirs.sha256[:12]}), not with "
            f"{ours.info.name} ({ours.sha256[:12]}): give that bundle with --bundle, or index again to another "
            "place",
        )


class _Pending:
    """Rows that are not on disk yet."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._vectors: list[np.ndarray] = []
        self._entries: list[Entry] = []
        self._since = monotonic()

    def add(self, vectors: Sequence[np.ndarray], entries: Sequence[Entry]) -> None:
        """The rows of a clip, which stay together; appended when there is enough, or enough time has gone."""
        self._vectors += vectors
        self._entries += entries
        if len(self._entries) >= _APPEND_ROWS or monotonic() - self._since > _APPEND_SECONDS:
            self.append()

    def append(self) -> None:
        if self._entries:
            self._store.append(np.stack(self._vectors), self._entries)
        self._vectors, self._entries, self._since = [], [], monotonic()


def _entry(clip: Clip, modality: str, start: float | None, end: float | None, stamp: str) -> Entry:
    file = {"speech": clip.speech, "vision": clip.vision}.get(modality)
    return Entry(
        id=clip.id,
        modality=modality,
        file=_absolute(file),
        start=start,
        end=end,
        text=clip.text if modality == "text" else None,
        corpus=clip.corpus,
        speaker=clip.speaker,
        labels={task: name for task, label in clip.labels.items() if (name := _label(label)) is not None},
        date=_date(clip),
        stamp=stamp,
    )


def _label(label: Label) -> str | None:
    """A class to filter by: of votes the one that most gave, of several all; numbers are none."""
    if isinstance(label, Mapping):
        return max(label, key=label.__getitem__, default=None)
    if isinstance(label, float):
        return None
    return label if isinstance(label, str) else "|".join(label)


def _once(clips: Iterable[Clip]) -> list[Clip]:
    return list({(clip.corpus, clip.id): clip for clip in clips}.values())


def _stamps(clips: Iterable[Clip]) -> dict[tuple[str | None, str], str]:
    """What each clip was made of, by corpus and id; DataError `clip_duplicate` where two differ."""
    stamps: dict[tuple[str | None, str], str] = {}
    for clip in clips:
        stamp = _stamp(clip)
        if stamps.setdefault((clip.corpus, clip.id), stamp) != stamp:
            raise DataError(
                "clip_duplicate",
                f"two different clips have the id {clip.id!r}: give each an id, or each manifest a corpus, of its own",
            )
    return stamps


def _stamp(clip: Clip) -> str:
    files = [_absolute(file) for file in (clip.speech, clip.vision)]
    text = clip.text if "text" in clip.modalities() else None
    facts: list[Any] = [
        clip.id,
        clip.corpus,
        *files,
        text,
        clip.start,
        clip.end,
        clip.speaker,
        clip.attributes.get("date"),
    ]
    facts += [sorted((task, _label(label)) for task, label in clip.labels.items())]
    facts += [(state.st_size, state.st_mtime_ns) for state in _states(clip)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _states(clip: Clip) -> list[os.stat_result]:
    """Size and time of a clip's files; a missing one is for the decoder to complain about."""
    paths = [Path(file.partition("#")[0]) for file in (clip.speech, clip.vision) if file is not None]
    return [path.stat() for path in paths if path.exists()]


def _date(clip: Clip) -> str | None:
    """When a clip was recorded by its `date`, else when its file was last changed; DataError
    `manifest_row_invalid` for a date that is none."""
    told = clip.attributes.get("date")
    if told:
        try:
            return utc(told)
        except ValueError:
            raise DataError(
                "manifest_row_invalid", f"{clip.id}: the date {told!r} is not ISO 8601, like 2026-05-01T14:30"
            ) from None
    states = _states(clip)
    return utc(datetime.fromtimestamp(states[0].st_mtime, UTC).isoformat()) if states else None


def _absolute(file: str | None) -> str | None:
    return None if file is None else os.path.abspath(file)
