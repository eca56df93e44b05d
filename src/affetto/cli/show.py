"""An answer in a terminal: what was felt, how sure, who said so, and what to keep in mind.

Lines are `rich.text.Text`: a console without colour, a narrow one, and one that cannot show Unicode all get
the same words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from affetto.errors import AffettoError
from affetto.records import MODALITIES, Prediction, Verdict
from affetto.timeline.wording import REASONS, VIEWS, WARNINGS, clock

_COLOURS = {
    "anger": "red",
    "disgust": "green",
    "fear": "magenta",
    "happiness": "yellow",
    "neutral": "white",
    "sadness": "blue",
    "surprise": "cyan",
}


@dataclass(frozen=True)
class Glyphs:
    """The characters of bars and marks."""

    eighths: str
    empty: str
    dot: str
    warn: str


_UNICODE = Glyphs(eighths="▏▎▍▌▋▊▉█", empty=" ", dot="·", warn="!")
_ASCII = Glyphs(eighths="#", empty=".", dot="-", warn="!")


def glyphs(console: Console) -> Glyphs:
    """Unicode bars where the terminal's encoding has them, plain ASCII elsewhere."""
    return _UNICODE if console.encoding.lower().startswith("utf") else _ASCII


def bar(share: float, width: int, marks: Glyphs) -> str:
    """`share` of `width` characters, in steps of an eighth of a character where the glyphs allow."""
    steps = len(marks.eighths)
    filled = round(max(0.0, min(1.0, share)) * width * steps)
    whole, part = divmod(filled, steps)
    drawn = marks.eighths[-1] * whole + (marks.eighths[part - 1] if part else "")
    return drawn + marks.empty * (width - len(drawn))


def printable(text: str) -> str:
    """`text` without control characters: a file's name must not steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def show(prediction: Prediction, console: Console) -> None:
    """Print one answer."""
    for line in answer(prediction, console.width, glyphs(console)):
        # Only a path or a sentence can be too long. A window wraps it at words, a pipe gets it in one piece.
        for piece in line.wrap(console, console.width) if console.is_terminal else [line]:
            piece.rstrip()
            console.print(piece, highlight=False, soft_wrap=True)


def answer(prediction: Prediction, width: int, marks: Glyphs) -> list[Text]:
    """One answer as lines for a window of `width` columns."""
    lines = [_title(prediction, marks), Text(), *_headline(prediction), Text()]
    # What a model makes of silence nobody should read as an opinion.
    if prediction.probabilities and prediction.reason != "no_speech":
        lines += [*_bars(prediction.probabilities, width, marks), Text(), *_verdicts(prediction)]
    for name, said in prediction.tasks.items():
        lines.append(Text(f"  {printable(name)}: {_task(said)}"))
    for code in prediction.warnings:
        lines.append(Text(f"{marks.warn} {WARNINGS.get(code, code)}", style="yellow"))
    model = prediction.model
    facts = [model["name"], model["licence"], model["sha256"][:12], f"{prediction.elapsed:.2f} s"]
    return [*lines, Text(f" {marks.dot} ".join(printable(fact) for fact in facts), style="dim")]


def table(rows: Sequence[tuple[str, Prediction]], width: int) -> list[Text]:
    """Several answers, a line each: emotion, confidence, file."""
    room = max(10, width - 19)
    lines = []
    for name, prediction in rows:
        label = prediction.emotion or "unsure"
        line = Text.assemble(
            (f"{label:<10}", style_of(prediction.emotion)), f" {prediction.confidence:>5.0%}  "
        )
        lines.append(line.append(shortened(printable(name), room)))
    return lines


def summary(predictions: Iterable[Prediction], failed: int) -> str:
    """How many items got which answer, in one line."""
    counts = Counter(p.emotion or "unsure" for p in predictions)
    total = sum(counts.values()) + failed
    parts = [f"{label} {count}" for label, count in counts.most_common()]
    if failed:
        parts.append(f"failed {failed}")
    return f"{total} {'item' if total == 1 else 'items'}: {', '.join(parts)}"


def failure(name: str, error: AffettoError) -> str:
    """An item that was not answered, in one line; most messages name it themselves."""
    message = printable(str(error))
    about = "" if printable(name) in message else f"{printable(name)}: "
    return f"failed: {about}{message} [{error.code}]"


def shortened(name: str, room: int) -> str:
    """A path that fits `room` columns; its end says more than its beginning."""
    return name if len(name) <= room else f"...{name[-(room - 3) :]}"


def _title(prediction: Prediction, marks: Glyphs) -> Text:
    facts = [printable(prediction.file)] if prediction.file else []
    if prediction.duration is not None:
        seconds = prediction.duration
        facts.append(f"{seconds:.1f} s" if seconds < 60 else clock(seconds))
    given = [VIEWS[m] for m in MODALITIES if m in prediction.modalities]
    return Text(f" {marks.dot} ".join(facts or [" + ".join(given) or "answer"]), style="dim")


def _headline(prediction: Prediction) -> list[Text]:
    if not prediction.abstained and prediction.emotion is not None:
        style = f"bold {style_of(prediction.emotion)}"
        return [
            Text.assemble(("  " + printable(prediction.emotion), style), f"  {prediction.confidence:.0%}")
        ]
    reason = REASONS.get(prediction.reason or "", prediction.reason or "")
    return [Text.assemble(("  unsure", "bold")), Text(f"  {reason}")]


def _bars(probabilities: Mapping[str, float], width: int, marks: Glyphs) -> list[Text]:
    names = sorted(probabilities, key=probabilities.__getitem__, reverse=True)
    column = max((len(printable(name)) for name in names), default=0)
    room = max(4, min(40, width - column - 10))
    return [
        Text.assemble(
            f"  {printable(name):<{column}} ",
            (bar(probabilities[name], room, marks), style_of(name)),
            f" {probabilities[name]:>4.0%}",
        )
        for name in names
    ]


def _verdicts(prediction: Prediction) -> list[Text]:
    """What each view said with its weight, and the modalities that did not count."""
    # A mixture of views that the vote did not listen to would only contradict it.
    heard = {v: said for v, said in prediction.modalities.items() if v in MODALITIES or said.weight != 0}
    lines = [_verdict(view, verdict) for view, verdict in heard.items()]
    absent = ", ".join(VIEWS[m] for m in prediction.missing)
    if absent:
        lines.append(Text(f"  without {absent}", style="dim"))
    return lines


def _verdict(view: str, verdict: Verdict) -> Text:
    said = verdict.probabilities[verdict.emotion]
    weight = "" if verdict.weight is None else f"  weight {verdict.weight:.0%}"
    return Text.assemble(
        f"  {VIEWS.get(view, view):<8} ",
        (f"{printable(verdict.emotion):<9}", style_of(verdict.emotion)),
        f" {said:>4.0%}",
        (weight, "dim"),
    )


def _task(said: Mapping[str, Any]) -> str:
    if "value" in said:
        return f"{said['value']:.2f}"
    if "labels" in said:
        return ", ".join(said["labels"]) or "none"
    return str(said["label"])


def style_of(emotion: str | None) -> str:
    """The colour of an emotion; the terminal's own for none, and for those without one."""
    return _COLOURS.get(emotion or "", "default")
