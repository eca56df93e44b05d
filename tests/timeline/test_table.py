"""The table, read back as a spreadsheet reads it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest

from affetto.labels import EMOTIONS
from affetto.records import Prediction, Segment
from affetto.timeline.table import to_csv


def read(text: str) -> list[dict[str, str]]:
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:], newline=""), strict=True))


def test_every_row_has_every_column_and_its_values(call: Callable[..., Prediction]) -> None:
    prediction = call()
    rows = read(to_csv(prediction))
    views = ["speech_emotion", "speech_weight", "text_emotion", "text_weight"]
    assert list(rows[0]) == [
        "start",
        "end",
        "emotion",
        "reason",
        "speech",
        "span",
        *EMOTIONS,
        *views,
        "words",
    ]
    assert len(rows) == len(prediction.segments)
    for row, segment in zip(rows, prediction.segments, strict=True):
        assert None not in row
        assert None not in row.values()
        assert (float(row["start"]), float(row["end"])) == (segment.start, segment.end)
        assert (row["emotion"] or None, row["reason"] or None) == (segment.emotion, segment.reason)
        assert float(row["speech"]) == segment.speech
        given = {name: float(row[name]) for name in EMOTIONS if row[name]}
        assert given == pytest.approx(segment.probabilities, abs=5e-5)
        assert tuple(row["words"].split()) == segment.words
        (span,) = [span for span in prediction.spans if span.start <= segment.start < span.end]
        assert row["span"] == (span.emotion or ("unsure" if span.reason == "low_confidence" else ""))
        for view in ("speech", "text"):
            verdict = segment.modalities.get(view)
            assert row[f"{view}_emotion"] == (verdict.emotion if verdict else "")
            weight = verdict.weight if verdict else None
            assert row[f"{view}_weight"] == ("" if weight is None else f"{weight:.4f}")


def test_a_timeline_without_steps_is_a_header(call: Callable[..., Prediction]) -> None:
    assert read(to_csv(call(segments=()))) == []
    assert to_csv(call(segments=())).count("\n") == 1


def test_without_a_recording_nobody_knows_what_is_speech(call: Callable[..., Prediction]) -> None:
    assert read(to_csv(call(segments=(Segment(0.0, 0.5, None, {}),))))[0]["speech"] == ""


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_words_are_no_formula(call: Callable[..., Prediction], text: str) -> None:
    row = read(to_csv(call(segments=(Segment(0.0, 0.5, None, {}, {}, (text, "=2")),))))[0]
    assert row["words"] == f"'{text} =2"
