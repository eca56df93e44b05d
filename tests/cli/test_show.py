"""What an answer looks like: the same words in any window, with or without colour, Unicode or plain ASCII."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from affetto.cli.show import answer, bar, glyphs, printable, shortened, show, summary, table
from affetto.labels import EMOTIONS
from affetto.records import Prediction, Verdict

SHARES = dict(zip(EMOTIONS, (0.62, 0.02, 0.03, 0.2, 0.08, 0.03, 0.02), strict=True))


def prediction(**changes: object) -> Prediction:
    fields = {
        "emotion": "anger",
        "confidence": 0.62,
        "probabilities": SHARES,
        "modalities": {
            "fused": Verdict("anger", SHARES, 0.2),
            "speech": Verdict("anger", SHARES, 0.5),
            "text": Verdict("anger", SHARES, None),
        },
        "missing": ("vision",),
        "file": "recordings/call.wav",
        "duration": 3.14,
        "warnings": ("not_calibrated",),
        "tasks": {"valence": {"value": -0.5}, "topics": {"labels": ["war"]}, "sentiment": {"label": "bad"}},
        "model": {"name": "default", "sha256": "abcdef0123456789", "licence": "CC BY-NC-SA 4.0"},
        "elapsed": 0.123,
    }
    return Prediction(**{**fields, **changes})  # type: ignore[arg-type]


def drawn(
    said: Prediction, width: int, *, encoding: str = "utf-8", terminal: bool = False, colour: bool = False
) -> str:
    """What a window or a pipe receives."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    system = "standard" if colour else None
    show(said, Console(file=stream, width=width, force_terminal=terminal or colour, color_system=system))
    stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_every_window_shows_everything_and_fits(width: int, encoding: str) -> None:
    text = drawn(prediction(), width, encoding=encoding, terminal=True)
    assert max(len(line) for line in text.splitlines()) <= width
    words = " ".join(text.split())
    for expected in (
        *EMOTIONS, "call.wav", "3.1 s", "62%", "speech", "weight 50%", "without face", "not calibrated",
        "default", "CC BY-NC-SA 4.0", "abcdef012345", "0.12 s", "valence: -0.50", "topics: war",
    ):  # fmt: skip
        assert expected in words, expected
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_a_pipe_gets_long_names_in_one_piece() -> None:
    path = "a folder with spaces/" * 6 + "call.wav"
    lines = drawn(prediction(file=path), 80).splitlines()
    assert lines[0].startswith(path)


def test_bars_grow_with_probability() -> None:
    lines = drawn(prediction(), 80).splitlines()
    bars = [
        sum(c in "▏▎▍▌▋▊▉█" for c in line) for line in lines if line.rstrip().endswith("%") and "█" in line
    ]
    assert bars == sorted(bars, reverse=True)
    assert bars[0] > 20
    order = [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in EMOTIONS][1:8]
    assert order[:3] == ["anger", "happiness", "neutral"]


def test_ascii_where_unicode_is_not() -> None:
    text = drawn(prediction(), 60, encoding="ascii")
    assert text.isascii()
    assert "####" in text


def test_colour_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in drawn(prediction(), 80)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in drawn(prediction(), 80, colour=True)
    monkeypatch.setenv("NO_COLOR", "1")
    plain = drawn(prediction(), 80, colour=True)
    assert not any(f"\x1b[{code}" in plain for code in range(30, 38))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("low_confidence", "stands out"),
        ("language_not_supported", "language"),
        ("something_new", "something_new"),
    ],
)
def test_unsure_says_why(reason: str, words: str) -> None:
    text = drawn(prediction(emotion=None, abstained=True, reason=reason), 80)
    assert "unsure" in text
    assert words in text
    assert "happiness" in text  # the probabilities are still there


def test_an_answer_without_emotion_or_file() -> None:
    nothing = {"emotion": None, "probabilities": {}, "modalities": {}, "file": None, "duration": None}
    said = prediction(**nothing, abstained=True, reason="no_emotion_in_model", warnings=("new_warning",))
    text = drawn(said, 60)
    assert "does not answer about emotion" in text
    assert "new_warning" in text


def test_a_file_name_cannot_steer_the_terminal() -> None:
    text = drawn(prediction(file="a\x1b[2Jb\nc\udce9.wav"), 80)
    assert "\x1b" not in text
    assert "a?[2Jb?c?.wav" in text
    assert printable("größe ok") == "größe ok"


def test_a_mixture_that_had_no_say_is_not_shown() -> None:
    views = {"fused": Verdict("fear", SHARES, 0.0), "speech": Verdict("anger", SHARES, 0.0)}
    text = drawn(prediction(modalities=views), 80)
    assert "together" not in text
    assert "speech" in text
    assert "together" in drawn(prediction(modalities={"fused": Verdict("fear", SHARES, None)}), 80)


def test_rows_and_summary() -> None:
    sure, unsure = prediction(), prediction(emotion=None, abstained=True, reason="low_confidence")
    lines = [line.plain for line in table([("a.wav", sure), ("b/" * 60 + "c.wav", unsure)], 50)]
    assert lines[0].split() == ["anger", "62%", "a.wav"]
    assert lines[1].startswith("unsure")
    assert lines[1].endswith("/c.wav")
    assert all(len(line) <= 50 for line in lines)
    assert summary([sure, sure, unsure], 1) == "4 items: anger 2, unsure 1, failed 1"
    assert summary([sure], 0) == "1 item: anger 1"


def test_bar() -> None:
    unicode, ascii_ = (
        glyphs(Console(file=io.TextIOWrapper(io.BytesIO(), "utf-8"))),
        glyphs(Console(file=io.TextIOWrapper(io.BytesIO(), "ascii"))),
    )
    assert bar(0.0, 4, unicode) == "    "
    assert bar(1.0, 4, unicode) == "████"
    assert bar(0.5, 4, unicode) == "██  "
    assert bar(0.53125, 4, unicode) == "██▏ "
    assert bar(0.5, 4, ascii_) == "##.."
    assert bar(2.0, 4, ascii_) == "####"
    assert shortened("abcdefghij", 6) == "...hij"
    assert len(answer(prediction(), 80, unicode)) > 10
