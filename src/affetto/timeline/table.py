"""The timeline as a table for spreadsheets: a row for each step, the same columns in every row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from affetto.records import Prediction, Segment, Span
from affetto.timeline.wording import called, labels, views


def to_csv(prediction: Prediction) -> str:
    """A row for each segment, under

    `start`, `end` (seconds), `emotion` and, where there is none, `reason`; `speech` (share of the step that is
    speech); `span`, the emotion of the span that the step is part of, smoothed over its neighbours; a column
    with its probability for each emotion; `speech_emotion` and `speech_weight` and so on for each view of the
    model; `words`. What a step does not have is an empty cell.

    The text starts with a byte order mark, without which Excel takes é for Ã©. Words that a spreadsheet would
    run as a formula ("=", "+", "-" or "@" come first) get an apostrophe before them.
    """
    names, seen = labels(prediction), views(prediction)
    verdicts = [f"{view}_{fact}" for view in seen for fact in ("emotion", "weight")]
    columns = ["start", "end", "emotion", "reason", "speech", "span", *names, *verdicts, "words"]
    file = io.StringIO(newline="")
    file.write("\ufeff")
    table = csv.DictWriter(file, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(_row(segment, seen, span) for segment, span in _with_spans(prediction))
    return file.getvalue()


def _with_spans(prediction: Prediction) -> Iterator[tuple[Segment, Span | None]]:
    spans = list(prediction.spans)
    for segment in prediction.segments:
        while len(spans) > 1 and spans[0].end <= segment.start:
            spans.pop(0)
        yield segment, spans[0] if spans else None


def _row(segment: Segment, views: Sequence[str], span: Span | None) -> Mapping[str, Any]:
    row = {
        "start": _number(segment.start, 3),
        "end": _number(segment.end, 3),
        "emotion": segment.emotion or "",
        "reason": segment.reason or "",
        "speech": _number(segment.speech, 2),
        "span": (called(span) or "") if span else "",
        **{name: _number(share, 4) for name, share in segment.probabilities.items()},
        "words": _harmless(" ".join(segment.words)),
    }
    for view in views:
        verdict = segment.modalities.get(view)
        if verdict is not None:
            row[f"{view}_emotion"] = verdict.emotion
            row[f"{view}_weight"] = _number(verdict.weight, 4)
    return row


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
