"""The model card (README.md) of a bundle: a template filled from what the bundle knows and what was measured.

A figure that was not handed in is not there; the card never states one of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from affetto.bundle import BundleInfo


@dataclass(frozen=True)
class Result:
    """One measured figure: on what, by which protocol, with its interval and how many clips and people."""

    protocol: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    command: str = ""


@dataclass(frozen=True)
class Card:
    """What a card says beyond the contract: `summary`, how it was `trained`, `results`, known `limits`."""

    summary: str = "Recognises emotion from speech, text and face, any subset of them."
    trained: str = ""
    results: tuple[Result, ...] = ()
    limits: tuple[str, ...] = ()


def render_card(info: BundleInfo, card: Card, parity: Mapping[str, Any]) -> str:
    """The card as Markdown, with the metadata block that model hubs read."""
    sections = [
        _front_matter(info),
        f"# {info.name} {info.version}\n\n{card.summary}",
        "## What it answers\n\n" + _tasks(info),
        "## How to use it\n\n```python\nimport affetto\n\n"
        'model = affetto.load("path/to/this/folder")\n'
        'print(model.predict(speech="call.wav", text="what was said").emotion)\n```',
        "## What it was trained on\n\n" + _training(info, card),
        "## Figures\n\n" + _results(card.results),
        "## Exported parts\n\n" + _parity(parity),
        "## Calibration\n\n" + _calibration(info),
        "## Limits\n\n" + _bullets([*card.limits, *_standing_limits(info)]),
        f"## Licence\n\nThe weights: {info.licence}. Every answer carries this line.",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(info: BundleInfo) -> str:
    languages = info.parts.text.languages if info.parts.text else ()
    lines = [
        "---",
        f"license: {_slug(info.licence)}",
        "library_name: affetto",
        "tags:",
        "- emotion-recognition",
    ]
    if languages:
        lines += ["language:", *(f"- {name}" for name in languages)]
    return "\n".join([*lines, "---"])


def _slug(licence: str) -> str:
    return licence.strip().lower().replace(" ", "-")


def _tasks(info: BundleInfo) -> str:
    lines = [f"{task.name} ({task.kind}): {', '.join(task.labels) or 'a number'}" for task in info.tasks]
    lines.append(f"modalities, any subset: {', '.join(info.parts.modalities())}")
    return _bullets(lines)


def _training(info: BundleInfo, card: Card) -> str:
    corpora = [
        f"{c.name} ({c.licence}{f', {c.clips} clips' if c.clips is not None else ''})" for c in info.corpora
    ]
    reserved = [f"never trained on: {', '.join(people)} of {name}" for name, people in info.reserved.items()]
    text = _bullets([*corpora, *reserved]) or "Not stated."
    return f"{text}\n\n{card.trained}" if card.trained else text


def _results(results: Sequence[Result]) -> str:
    if not results:
        return "None measured."
    lines = ["| protocol | metric | value | 95 % interval | n | command |", "|---|---|---|---|---|---|"]
    for r in results:
        interval = "" if r.low is None or r.high is None else f"{r.low:.3f} to {r.high:.3f}"
        command = f"`{r.command}`" if r.command else ""
        lines.append(f"| {r.protocol} | {r.metric} | {r.value:.3f} | {interval} | {r.n or ''} | {command} |")
    return "\n".join(lines)


def _parity(parity: Mapping[str, Any]) -> str:
    lines = []
    torch = parity.get("torch_vs_onnx")
    if torch:
        worst, n = torch["max_abs_difference"], torch["inputs"]
        lines.append(f"fp32 ONNX differs from torch by at most {worst:.1e} in {n} inputs")
    int8 = parity.get("int8_vs_fp32", {})
    for subset, found in int8.get("subsets", {}).items():
        line = f"int8 against fp32, {subset}: same answer for {found['agreement']:.1%} of {found['n']}"
        if "uar_int8" in found:
            line += f", UAR {found['uar_fp32']:.3f} to {found['uar_int8']:.3f}"
        lines.append(line)
    for part, size in int8.get("bytes", {}).items():
        faster = int8.get("times_faster", {}).get(part)
        speed = f", {faster:.1f} times faster" if faster else ""
        lines.append(f"{part}: int8 is {size['ratio']:.2f} of the size of fp32{speed}")
    return _bullets(lines) or "Not measured."


def _calibration(info: BundleInfo) -> str:
    lines = [
        f"{precision}, {task}: "
        + ", ".join(f"{name} (by vector scaling)" if c.vectors else name for name, c in subsets.items())
        for precision, tasks in info.calibration.items()
        for task, subsets in tasks.items()
        if subsets
    ]
    if not lines:
        return "Not calibrated: its probabilities order the answers and mean no more."
    return "Fitted on held-out people, for these precisions, tasks and subsets:\n\n" + _bullets(lines)


def _standing_limits(info: BundleInfo) -> list[str]:
    """What holds for every bundle, and what its training was allowed."""
    limits = [
        *(f"Trained although {leak}: figures on those splits are too good." for leak in info.leaks),
        "It tells how an expression is commonly read, not what a person feels.",
        "Figures on acted speech do not carry over to spontaneous speech.",
        "In the EU, inferring emotions at work and in education is prohibited except for medical or safety "
        "reasons (AI Act, Article 5(1)(f)), and people exposed to it must be told (Article 50(3)).",
    ]
    if info.parts.text is not None:
        known = ", ".join(info.parts.text.languages)
        limits.append(f"Text in other languages than {known} is left out, with a warning.")
    return limits


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
