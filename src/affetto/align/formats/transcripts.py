"""JSON of speech recognisers, and a plain list of words.

| written by | shape |
|---|---|
| plain | `[{"text": "never", "start": 1.0, "end": 1.2}]`, also with `word`, also under `words` |
| Whisper, faster-whisper | `{"segments": [{"start", "end", "text", "words": [{"word", "start", "end"}]}]}` |
| WhisperX | the same, where numbers have no times of their own, and `word_segments` |
| OpenAI's API | `{"words": [{"word", "start", "end"}]}` |
| transformers | `{"chunks": [{"text": "never", "timestamp": [1.0, 1.2]}]}` |

A segment without words, or an entry of several words, is spread over its time by characters; a word without
times gets the room between its neighbours. Both are marked `estimated`.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from typing import Any

from affetto.align.formats import Format, Problem, Words, WrongFormat
from affetto.align.formats.times import fault, parse_seconds
from affetto.align.spread import timed_words
from affetto.records import Word

_LINE = object()  # the key under which an object keeps the number of its line: no text can be it

#: A word (or several) whose times may be missing, and the line it stands on.
_Entry = tuple[str, float | None, float | None, bool, int]


def _read(text: str) -> Words:
    try:
        document = _parse(text)
    except json.JSONDecodeError as error:
        raise WrongFormat(f"not JSON, line {error.lineno}: {error.msg}") from None
    except RecursionError:
        raise WrongFormat("not JSON that anybody wrote: nested too deeply") from None
    problems: list[Problem] = []
    words = [word for part in _parts(document) for word in _part_words(*part, problems)]
    return Words(tuple(words), tuple(sorted(problems, key=lambda problem: problem.line)))


def _parse(text: str) -> Any:
    """The document, each object of which knows the line that it starts on."""
    line_starts = [0, *(place + 1 for place, letter in enumerate(text) if letter == "\n")]
    decoder = json.JSONDecoder(parse_constant=str)

    def parse_object(state: tuple[str, int], *options: Any) -> tuple[dict[Any, Any], int]:
        value, end = json.decoder.JSONObject(state, *options)  # type: ignore[attr-defined]
        value[_LINE] = bisect_right(line_starts, state[1])
        return value, end

    decoder.parse_object = parse_object  # type: ignore[attr-defined]
    decoder.scan_once = json.scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]
    return decoder.decode(text)


_Part = tuple[Sequence[Any], float | None, float | None, int]  # entries; the time they share; its line


def _parts(document: Any) -> Iterator[_Part]:
    """Each list of words, with the time of the segment it stands in."""
    if isinstance(document, Mapping):
        line = document[_LINE]
        for key in ("segments", "word_segments", "words", "chunks"):
            if isinstance(document.get(key), list):
                document = document[key]
                break
        else:
            raise WrongFormat("expected a list of words, or an object with segments, words or chunks")
    elif isinstance(document, list):
        line = 1
    else:
        raise WrongFormat(f"expected a list of words, got {type(document).__name__}")
    # Words in a row are one part, so that one without times knows its neighbours.
    for is_segment, items in groupby(document, key=_has_words):
        if is_segment:
            for item in items:
                yield item["words"], _number(item.get("start")), _number(item.get("end")), item[_LINE]
        else:
            yield list(items), None, None, line


def _has_words(item: Any) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("words"), list) and bool(item["words"])


def _part_words(
    items: Sequence[Any], start: float | None, end: float | None, line: int, problems: list[Problem]
) -> Iterator[Word]:
    entries = [entry for item in items if (entry := _entry(item, line, problems)) is not None]
    # Runs of entries with times and without, in turn.
    runs = [list(run) for _, run in groupby(entries, key=lambda entry: entry[1] is None)]
    at = start
    for run, following in zip_longest(runs, runs[1:]):
        if run[0][1] is None:
            yield from _between(run, at, following[0][1] if following else end, problems)
            continue
        for text, begin, stop, estimated, number in run:
            begin = begin or 0.0
            stop = begin if stop is None else stop
            wrong = fault(begin, stop)
            if wrong:
                problems.append(Problem(number, f"{text!r} {wrong}"))
            else:
                at = stop
                yield from timed_words(text, begin, stop, estimated=estimated)


def _between(
    run: Sequence[_Entry], start: float | None, end: float | None, problems: list[Problem]
) -> Sequence[Word]:
    """Words without times, spread over the room between their neighbours."""
    if start is None or end is None or fault(start, max(start, end)):
        problems.extend(Problem(number, f"{text!r} has no times") for text, *_, number in run)
        return ()
    return timed_words(" ".join(entry[0] for entry in run), start, max(start, end), estimated=True)


def _entry(item: Any, line: int, problems: list[Problem]) -> _Entry | None:
    """What an item says, or None: nothing, or a problem."""
    if not isinstance(item, Mapping):
        problems.append(Problem(line, f"expected a word like {{'text', 'start', 'end'}}, got {item!r:.40}"))
        return None
    line = item[_LINE]
    text = next((item[key] for key in ("word", "text") if isinstance(item.get(key), str)), None)
    if text is None:
        problems.append(Problem(line, "an entry without `word` or `text`"))
        return None
    stamp = item.get("timestamp")
    start, end = (
        stamp if isinstance(stamp, list) and len(stamp) == 2 else (item.get("start"), item.get("end"))
    )
    if not text.strip():
        return None
    begin, stop = _number(start), _number(end)
    for name, given, number in (("start", start, begin), ("end", end, stop)):
        if given is not None and number is None:
            problems.append(Problem(line, f"{text!r}: {name} is {given!r:.40}, expected seconds"))
            return None
    return text.strip(), begin, stop, item.get("estimated") is True, line


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    number = parse_seconds(value) if isinstance(value, str) else float(value)
    return number if number is not None and math.isfinite(number) else None


# --- writing ------------------------------------------------------------------------------------------------


def _write_plain(words: Sequence[Word]) -> str:
    """One word a line, so that a line number tells the word."""
    rows = ",\n".join(json.dumps(_row("text", word), ensure_ascii=False) for word in words)
    return f"[\n{rows}\n]\n" if words else "[]\n"


def _write_whisper(words: Sequence[Word]) -> str:
    text = " ".join(word.text for word in words)
    rows = [_row("word", word) for word in words]
    segment = {"id": 0, "start": words[0].start, "end": max(word.end for word in words)} if words else {}
    segments = [{**segment, "text": text, "words": rows}] if words else []
    return json.dumps({"text": text, "segments": segments}, ensure_ascii=False, indent=1) + "\n"


def _row(name: str, word: Word) -> dict[str, Any]:
    row: dict[str, Any] = {name: word.text, "start": word.start, "end": word.end}
    return {**row, "estimated": True} if word.estimated else row


PLAIN = Format(_read, _write_plain)
WHISPER = Format(_read, _write_whisper)
