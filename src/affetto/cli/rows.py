"""Answers as rows of a .csv or .jsonl file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from affetto.errors import AffettoError, ConfigError
from affetto.records import Prediction


class RowWriter(Protocol):
    """Writes one outcome; `more` are values for further columns."""

    def __call__(self, name: str, outcome: Prediction | AffettoError, **more: str) -> None: ...


@contextmanager
def opened(output: Path) -> Iterator[TextIO]:
    """The file that -o names, ready for rows. Raises ConfigError `option_invalid`, `output_unwritable`."""
    if output.suffix not in (".csv", ".jsonl"):
        raise ConfigError("option_invalid", f"output {output}: expected a name ending in .csv or .jsonl")
    try:
        stream = output.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigError("output_unwritable", f"cannot write {output}: {error.strerror}") from error
    with stream:
        yield stream


def row_writer(stream: TextIO, suffix: str, labels: Sequence[str], more: Sequence[str] = ()) -> RowWriter:
    """What writes an outcome as a row as soon as it is there: an interrupted run keeps what it has.

    `more` names further columns, which come first.
    """
    facts = [*more, "file", "emotion", "confidence", "reason"]
    table = csv.DictWriter(stream, [*facts, *labels, "missing", "warnings", "error"], lineterminator="\n")
    if suffix == ".csv":
        table.writeheader()

    def write(name: str, outcome: Prediction | AffettoError, **more: str) -> None:
        if suffix == ".csv":
            table.writerow({**more, **_row(name, outcome)})
        else:
            record = {**more, **_record(name, outcome)}
            print(json.dumps(record, ensure_ascii=False, allow_nan=False), file=stream)
        stream.flush()

    return write


def _record(name: str, outcome: Prediction | AffettoError) -> dict[str, Any]:
    if isinstance(outcome, AffettoError):
        return {"file": name, "error": {"code": outcome.code, "message": str(outcome)}}
    return {**outcome.to_dict(), "file": name}


def _row(name: str, outcome: Prediction | AffettoError) -> dict[str, Any]:
    if isinstance(outcome, AffettoError):
        return {"file": name, "error": f"{outcome} [{outcome.code}]"}
    return {
        "file": name,
        "emotion": outcome.emotion or "",
        "confidence": f"{outcome.confidence:.4f}",
        "reason": outcome.reason or "",
        **{label: f"{share:.4f}" for label, share in outcome.probabilities.items()},
        "missing": " ".join(outcome.missing),
        "warnings": " ".join(outcome.warnings),
    }
