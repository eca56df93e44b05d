"""The strip in a terminal: it fits, it can be read without colour and without Unicode, and its columns are right."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import pytest
from rich.cells import cell_len
from rich.console import Console

from affetto.cli.strip import show_strip
from affetto.records import Prediction, Span, Word

CALL = (
    Span(0.0, 5.0, "anger", 0.81, ("I", "said", "no")),
    Span(5.0, 7.5, None, 0.0, (), "no_speech"),
    Span(7.5, 9.0, "sadness", 0.6),
    Span(9.0, 10.0, None, 0.2, ("dunno",), "low_confidence"),
)


def prediction(spans: Sequence[Span] = CALL, duration: float = 10.0) -> Prediction:
    return Prediction("anger", 0.8, {}, {}, (), duration=duration, spans=tuple(spans))


def drawn(said: Prediction, width: int, *, encoding: str = "utf-8", colour: bool = False) -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    system = "standard" if colour else None
    show_strip(said, Console(file=stream, width=width, force_terminal=True, color_system=system))
    stream.flush()
    return raw.getvalue().decode(encoding)


def test_what_is_shown_without_colour() -> None:
    assert drawn(prediction(), 44).splitlines() == [
        "  aaaaaaaaaaaaaaaaaaaa..........ssssssuuuu",
        "  anger                         sadne uns",
        "  0:00                0:05",
        "  of the time spoken:  a anger 67%",
        "  s sadness 20%  u unsure 13%",
        "  nobody speaks 0:02.5",
        "",
        "  0:00–0:05    anger       81%  “I said no”",
        "  0:07.5–0:09  sadness     60%",
        "  0:09–0:10    unsure           “dunno”",
    ]


def test_blocks_have_the_colours_of_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    row = drawn(prediction(), 44, colour=True).splitlines()[0]
    assert row == "  \x1b[31m" + "█" * 20 + "\x1b[0m" + " " * 10 + "\x1b[34m██████\x1b[0m\x1b[39m▒▒▒▒\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    plain = drawn(prediction(), 44, colour=True)
    assert "█" not in plain
    assert "aaaaassss" not in plain
    assert "ssssssuuuu" in plain


def test_columns_are_what_is_heard_longest() -> None:
    spans = [Span(i / 10, (i + 1) / 10, "fear" if i % 10 < 4 else "joy", 0.5) for i in range(1000)]
    row = drawn(prediction(spans, 100.0), 54).splitlines()[0].strip()
    assert set(row) == {"j"}  # each column holds two seconds, of which joy has 1.2
    uneven = [Span(0.0, 1.0, "fear", 0.5), Span(1.0, 100.0, "joy", 0.5)]
    sparse = [Span(0.0, 90.0, None, 0.0), Span(90.0, 90.5, "fear", 0.5), Span(90.5, 100.0, None, 0.0)]
    assert (
        drawn(prediction(sparse, 100.0), 54).splitlines()[0].strip() == "." * 45 + "f" + "." * 4
    )  # not hidden
    assert drawn(prediction(uneven, 100.0), 104).splitlines()[0].strip() == "f" + "j" * 99


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("colour", [True, False])
def test_every_window_fits(width: int, encoding: str, colour: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    words = tuple("né 你好你好 word".split()) * 12
    names = ["anger", "surprise", "a very long label of somebody's", "sadness"] * 5
    spans = [
        Span(i * 700.0, i * 700.0 + 650.5, name, 1.0, words if i % 2 else ("short",))
        for i, name in enumerate(names)
    ]
    text = drawn(prediction(spans, 14_000.0), width, encoding=encoding, colour=colour)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    visible = [line for line in lines if line]
    assert max(cell_len(line) for line in visible) <= width
    assert not any(line != line.rstrip() for line in visible)
    text = " ".join(" ".join(lines).split())
    assert "8 more; write them with --timeline out.csv" in text
    assert "2:00:00" in text  # on the axis
    assert len(lines) <= 12 * 2 + 12
    if encoding == "ascii":
        assert text.isascii()
        assert "..." in text


def test_letters_tell_emotions_apart() -> None:
    names = ["sadness", "surprise", "s", "disgust"]
    spans = [Span(i, i + 1, name, 0.5) for i, name in enumerate(names)]
    assert (
        drawn(prediction(spans, 4.0), 44).splitlines()[0].strip() == "s" * 10 + "u" * 10 + "?" * 10 + "d" * 10
    )


def test_no_timeline_is_no_strip() -> None:
    assert drawn(prediction(()), 80) == ""


def test_silence_alone() -> None:
    lines = drawn(prediction([Span(0.0, 10.0, None, 0.0, (), "no_speech")]), 50).splitlines()
    assert lines[0].strip() == "." * 46
    assert "nobody speaks 0:10" in lines[2]


def test_words_cannot_steer_the_terminal() -> None:
    said = Prediction("fear", 1.0, {}, {}, (), duration=1.0, words=(Word("\x1b[2J", 0, 1),),
                      spans=(Span(0.0, 1.0, "fe\x1bar", 1.0, ("\x1b[2J", "[bold]x")),))  # fmt: skip
    text = drawn(said, 80)
    assert "\x1b" not in text
    assert "?[2J [bold]x" in text
