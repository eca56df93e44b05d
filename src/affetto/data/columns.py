"""One row of a manifest and one Clip: what each column means, in both directions.

A row maps column names to values: text from CSV, any JSON value from JSONL and Parquet. `manifest.py` knows
files, this module knows columns; the table of columns stands in the docstring of `manifest.py`.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affetto import labels as contract
from affetto.data import cells
from affetto.records import MODALITIES, Clip, Label, Word

Row = Mapping[str, Any]
LabelMap = Mapping[str, str | None]

_FEATURES = "features:"

#: A row must fill at least one of these.
MODALITY_COLUMNS: tuple[str, ...] = (
    "path", "speech", "audio", "text", "vision", "image", "features",
    *(_FEATURES + name for name in MODALITIES),
)  # fmt: skip

_MEDIA_COLUMNS = {"speech": "speech", "audio": "speech", "vision": "vision", "image": "vision"}
_NAME_COLUMNS = ("id", "speaker", "group", "corpus", "split", "language")
_OTHER_COLUMNS = ("path", "text", "emotion", "gender", "start", "end", "scripted", "words")
_KNOWN = {*MODALITY_COLUMNS, *_NAME_COLUMNS, *_OTHER_COLUMNS}
_PREFIXES = ("votes_", "label:", "value:", "votes:", _FEATURES)

_IMAGES = (".jpg", ".jpeg", ".png", ".webp")
_ARRAYS = (".npz", ".npy")
_GENDERS = {
    **dict.fromkeys(("f", "female", "w", "woman"), "female"),
    **dict.fromkeys(("m", "male", "man"), "male"),
}
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True, slots=True)
class NoPlace:
    """What a row yields when its emotion has no place among the seven: the label, to be counted."""

    label: str


def column_name(name: str) -> str:
    """The name of a column as this module knows it: "Speaker " is speaker, other names stay as they are."""
    name = name.strip()
    lower = name.lower()
    if lower in _KNOWN or lower.startswith("votes_"):
        return lower
    prefix, colon, rest = name.partition(":")
    if prefix.lower() + colon not in _PREFIXES:
        return name
    return {"label:emotion": "emotion"}.get(prefix.lower() + colon + rest, prefix.lower() + colon + rest)


def clip_from_row(row: Row, folder: Path, default_id: str, label_map: LabelMap) -> Clip | NoPlace:
    """The Clip of a row whose paths are relative to `folder`, or NoPlace for a label outside the seven.

    Raises DataError `manifest_row_invalid` or `label_unknown`, naming the value and what was expected.
    """
    votes = _votes(row)
    labels = _labels(row, votes, label_map)
    if isinstance(labels, NoPlace):
        return labels
    media = _media(row, folder)
    start, end = cells.seconds(row.get("start"), "start"), cells.seconds(row.get("end"), "end")
    if start is not None and end is not None and end <= start:
        raise cells.invalid(f"end {end:g} is not after start {start:g}")
    name = cells.text(row.get("id")) or _media_id(row, start) or default_id
    gender = cells.text(row.get("gender"))
    language = cells.text(row.get("language"))
    split = cells.text(row.get("split"))
    majority = contract.majority(votes, label_map) if any(votes.values()) else None
    return Clip(
        id=name,
        speech=media.get("speech"),
        text=cells.written(row.get("text")),
        vision=media.get("vision"),
        start=start,
        end=end,
        words=_words(row.get("words")),
        features=_features(row, folder),
        speaker=cells.text(row.get("speaker")),
        group=cells.text(row.get("group")),
        gender=_GENDERS.get(gender.lower()) if gender else None,
        language=re.split("[-_]", language)[0].lower() if language else None,
        scripted=cells.truth(row.get("scripted"), "scripted"),
        labels=labels,
        split=_SPLITS.get(split.lower(), split) if split else None,
        corpus=cells.text(row.get("corpus")),
        attributes=_attributes(row, media, gender, majority, contract.votes_with_place(votes, label_map)),
    )


def row_from_clip(clip: Clip, folder: Path) -> dict[str, Any]:
    """The row of a Clip: text, numbers, True, lists of labels and of words; empty fields are left out.

    Paths are written relative to `folder`, with forward slashes. Raises DataError `manifest_row_invalid` for
    a Clip that no manifest can hold (a label with `|`, an infinite number, an attribute named like a column).
    """
    row: dict[str, Any] = {
        "id": clip.id,
        "speech": clip.speech and _relative(clip.speech, folder),
        "text": clip.text,
        "vision": clip.vision and _relative(clip.vision, folder),
        "speaker": clip.speaker,
        "gender": clip.gender,
        "language": clip.language,
        "split": clip.split,
        "start": clip.start,
        "end": clip.end,
        "group": clip.group,
        "scripted": clip.scripted or None,
        "corpus": clip.corpus,
        "words": [_word_row(word) for word in clip.words] or None,
    }
    row.update({_FEATURES + name: _relative(source, folder) for name, source in clip.features.items()})
    for task, label in clip.labels.items():
        row.update(_label_columns(clip.id, task, label))
    for name, value in clip.attributes.items():
        column = column_name(name)
        taken = column in _KNOWN and column not in ("features", "gender")
        if taken or row.get(name) is not None or column.startswith(_PREFIXES):
            raise cells.invalid(f"clip {clip.id!r}: the attribute {name!r} is named like a column; rename it")
        row[name] = _relative(value, folder) if name == "features" else value
    for name, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise cells.invalid(f"clip {clip.id!r}: {name} is {value}: expected a finite number")
    return {name: value for name, value in row.items() if value is not None}


# --- from a row ------------------------------------------------------------------------------------------


def _media(row: Row, folder: Path) -> dict[str, str]:
    """The media of a row by modality, and `features`; `path` goes where its suffix says."""
    media: dict[str, str] = {}
    for column in ("path", "speech", "audio", "vision", "image", "features"):
        value = cells.text(row.get(column))
        if value is None:
            continue
        modality = _modality(value) if column == "path" else _MEDIA_COLUMNS.get(column, column)
        if modality in media:
            raise cells.invalid(f"two paths for {modality}: {column} says {value!r}; keep one")
        media[modality] = _resolved(value, folder)
    precomputed = any(name.startswith(_FEATURES) and cells.text(value) for name, value in row.items())
    if not media and not precomputed and cells.written(row.get("text")) is None:
        raise cells.invalid(f"nothing to read: fill one of {', '.join(MODALITY_COLUMNS)}")
    return media


def _features(row: Row, folder: Path) -> dict[str, str]:
    """Modality to its features, from the columns `features:speech`, `features:text`, `features:vision`."""
    found: dict[str, str] = {}
    for column, value in row.items():
        source = cells.text(value) if column.startswith(_FEATURES) else None
        if source is None:
            continue
        modality = column.removeprefix(_FEATURES)
        if modality not in MODALITIES:
            raise cells.invalid(f"column {column}: expected {_FEATURES} and one of {', '.join(MODALITIES)}")
        found[modality] = _resolved(source, folder)
    return found


def _modality(path: str) -> str:
    archive, _, member = _member(path)
    suffix = os.path.splitext(member or archive)[1].lower()
    if os.path.splitext(archive)[1].lower() in _ARRAYS:
        return "features"
    return "vision" if suffix in _IMAGES else "speech"


def _member(path: str) -> tuple[str, str, str]:
    """(archive, "#", member) of `archive.zip#member` or `array.npz#index`; (path, "", "") of a plain file."""
    archive, mark, member = path.partition("#")
    if archive.lower().endswith((".zip", *_ARRAYS)):
        return archive, mark, member
    return path, "", ""


def _resolved(path: str, folder: Path) -> str:
    if "\0" in path or re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
        raise cells.invalid(f"{path!r} is not a file path: media are read from this machine only")
    archive, mark, member = _member(path)
    if os.sep == "/":
        archive = archive.replace("\\", "/")
    return os.path.normpath(folder / archive) + mark + member


def _media_id(row: Row, start: float | None) -> str | None:
    path = next(
        (text for name in MODALITY_COLUMNS if name != "text" and (text := cells.text(row.get(name)))), None
    )
    return path if path is None or start is None else f"{path}@{start:g}"


def _words(value: Any) -> tuple[Word, ...]:
    """Words from a list of {"text", "start", "end"} or from its JSON text."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return ()
    try:
        items = json.loads(value) if isinstance(value, str) else value
        return tuple(
            Word(str(item["text"]), float(item["start"]), float(item["end"]), bool(item.get("estimated")))
            for item in items
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise cells.invalid('words: expected a list of {"text", "start", "end"}, times in seconds') from None


def _labels(row: Row, votes: Mapping[str, float], label_map: LabelMap) -> dict[str, Label] | NoPlace:
    labels: dict[str, Label] = {}
    emotion = _emotion(row, votes, label_map)
    if isinstance(emotion, NoPlace):
        return emotion
    if emotion is not None:
        labels["emotion"] = emotion
    for column, value in row.items():
        prefix, _, task = column.partition(":")
        if not task or cells.text(value) is None:
            continue
        if prefix == "value":
            labels[task] = cells.number(value, column) or 0.0
        elif prefix == "label":
            labels[task] = _class(value, column)
        elif prefix == "votes":
            name, _, choice = task.rpartition(":")
            shares = labels.setdefault(name or choice, {})
            if not name or not isinstance(shares, dict):
                raise cells.invalid(f"{column}: expected votes:TASK:LABEL, and no other label for that task")
            shares[choice] = _count(value, column)
    return labels


def _emotion(row: Row, votes: Mapping[str, float], label_map: LabelMap) -> Label | NoPlace | None:
    """Votes where there are any, else the emotion column: one label, or several as a tuple."""
    if any(votes.values()):
        leaders = contract.leading(votes)
        if all(contract.to_emotion(label, label_map) is None for label in leaders):
            return NoPlace("|".join(leaders))
        return contract.votes_to_emotions(votes, label_map)
    names, several = _names(row.get("emotion"), "[|,]")
    if not names:
        return None
    found = [contract.to_emotion(name, label_map) for name in names]
    placed = tuple(dict.fromkeys(emotion for emotion in found if emotion is not None))
    if not placed:
        return NoPlace("|".join(names))
    return placed if several else placed[0]


def _votes(row: Row) -> dict[str, float]:
    emotion = row.get("emotion")
    counts = dict(emotion) if isinstance(emotion, Mapping) else {}
    counts.update({name[6:]: value for name, value in row.items() if name.startswith("votes_")})
    return {
        name: _count(value, f"votes_{name}")
        for name, value in counts.items()
        if cells.text(value) is not None
    }


def _count(value: Any, column: str) -> float:
    count = cells.number(value, column) or 0.0
    if count < 0:
        raise cells.invalid(f"{column} is {count:g}: votes cannot be negative")
    return count


def _class(value: Any, column: str) -> Label:
    if isinstance(value, Mapping):
        return {str(name): _count(count, column) for name, count in value.items()}
    names, several = _names(value, "[|]")
    if not names:
        raise cells.invalid(f"{column} is {value!r}: expected a label, or several joined by |")
    return tuple(names) if several else names[0]


def _names(value: Any, separators: str) -> tuple[list[str], bool]:
    """The labels of a cell, and whether they are a set: a list, or text with a separator ("joy|" is one)."""
    if isinstance(value, Mapping):
        return [], False
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [text for item in value if (text := cells.text(item))], True
    parts = re.split(separators, cells.text(value) or "")
    return [part.strip() for part in parts if part.strip()], len(parts) > 1


def _attributes(
    row: Row, media: Row, gender: str | None, majority: str | None, votes_given: float
) -> dict[str, str]:
    names = (name for name in row if name and name not in _KNOWN and not name.startswith(_PREFIXES))
    attributes = {name: text for name in names if (text := cells.written(row[name])) is not None}
    if "features" in media:
        attributes["features"] = media["features"]
    if gender and gender.lower() not in _GENDERS:
        attributes["gender"] = gender
    if votes_given >= 2:
        attributes.setdefault("votes", f"{votes_given:g}")
    if majority is not None:  # a blank cell says that there is none: shares alone may hide the tie
        attributes.setdefault("majority", "" if "majority" in row else majority)
    return attributes


# --- to a row --------------------------------------------------------------------------------------------


def _relative(path: str, folder: Path) -> str:
    archive, mark, member = _member(path)
    try:
        archive = os.path.relpath(archive, folder)
    except ValueError:  # another drive: only the whole path leads there
        archive = os.path.abspath(archive)
    return archive.replace(os.sep, "/") + mark + member


def _word_row(word: Word) -> dict[str, Any]:
    row: dict[str, Any] = {"text": word.text, "start": word.start, "end": word.end}
    return {**row, "estimated": True} if word.estimated else row


def _label_columns(clip_id: str, task: str, label: Label) -> dict[str, Any]:
    emotion = task == "emotion"
    if isinstance(label, Mapping):
        prefix = "votes_" if emotion else f"votes:{task}:"
        return {prefix + name: float(count) for name, count in label.items()}
    if isinstance(label, (int, float)):
        return {f"value:{task}": float(label)}
    classes: Iterable[str] = (label,) if isinstance(label, str) else label
    for name in classes:
        if "|" in name or (emotion and "," in name) or not name.strip():
            raise cells.invalid(
                f"clip {clip_id!r}: the label {name!r} of {task} cannot be written; rename it"
            )
    column = "emotion" if emotion else f"label:{task}"
    return {column: label if isinstance(label, str) else list(label) or None}
