"""The report of an evaluation as one page that needs no network, to be sent to somebody.

Every number on it is computed from the stored answers it is given; no model is run.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from affetto.evaluation.answers import Answer
from affetto.evaluation.plots import noise_curve, reliability_diagram, risk_coverage_curve
from affetto.evaluation.summary import COVERAGE, FEW, GAP, summarise
from affetto.html import card, page, table

_CALLED = {"speech": "speech", "text": "text", "vision": "face"}
_SHOWN = 12  # groups of a kind that are not folded away
Summary = Mapping[str, Any]


def report_page(
    answers: Sequence[Answer],
    *,
    title: str,
    facts: Sequence[tuple[str, str]] = (),
    config: str = "",
    sounds: Mapping[str, bytes] | None = None,
    against: Sequence[Answer] = (),
) -> str:
    """The page of stored answers.

    facts: what was measured and how, as names and values; config: the model's settings, folded away; sounds: the
    FLAC file of clips by id, of which those of the worst mistakes are put in; against: the stored answers of
    another run. All of it is plain text. Raises as `summarise`.
    """
    found = summarise(answers, against=against)
    whole = {a.id: a for a in answers if a.trial == "all"}
    parts = [
        _lead(found),
        _tiles(found),
        card("Confusion", _confusion(found)),
        f'<div class="pair">{card("Reliability", _reliability(found))}{card("Abstention", _abstention(found))}</div>',
        card("Thresholds for a target risk", _thresholds(found)),
        _against(found),
        card("Groups", _groups(found)),
        _inputs(found),
        card("Worst mistakes", _mistakes([whole[name] for name in found["mistakes"]], sounds or {})),
        card("How this was measured", _facts(facts, config)),
    ]
    style = (files("affetto.evaluation") / "report.css").read_text(encoding="utf-8")
    return page(title, "".join(parts), kind="evaluation", footer=_FOOTER, more_style=style)


_FOOTER = (
    "Intervals are of 95 %, by a bootstrap in which people are drawn again with all their clips. Scores count "
    "every clip by its most probable class, so that abstaining hides no error."
)


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None or value != value else f"{100 * value:.{digits}f} %"


def _points(value: float) -> str:
    """A difference of shares, in points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def _between(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _drawn(found: Summary) -> str:
    """What the intervals are over."""
    people = found["people"]
    if people > 1:
        return f"over {people:,} speakers"
    return "one speaker, who cannot be drawn again" if people else "over clips: no speaker is named"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _lead(found: Summary) -> str:
    classes = sum(1 for row in found["confusion"] if sum(row))
    failed = f" {found['failed']:,} more could not be answered." if found["failed"] else ""
    low, high = found["intervals"]["uar"]
    text = (
        f"{found['n']:,} clips of {classes} emotions. The average emotion is recognised in "
        f"{_percent(found['uar'])} of its clips (95 % interval {_between(low, high)}, {_drawn(found)}); "
        f"guessing would give {_percent(1 / len(found['labels']))}.{failed}"
    )
    return f'<p class="lead">{escape(text)}</p>'


def _tiles(found: Summary) -> str:
    selective = found["selective"]
    names = {
        "uar": "Unweighted accuracy (UAR)",
        "wa": "Accuracy",
        "macro_f1": "Macro F1",
        "weighted_f1": "Weighted F1",
        "ece": "Calibration error (ECE)",
    }
    tiles = [(name, found[key], found["intervals"][key]) for key, name in names.items()]
    tiles.append(
        (
            f"Accuracy at {_percent(COVERAGE, 0)} coverage",
            selective["accuracy"],
            selective["accuracy_interval"],
        )
    )
    tiles.append(("Area under risk-coverage", selective["aurc"], selective["aurc_interval"]))
    drawn = [_tile(name, value, _between(*interval)) for name, value, interval in tiles]
    drawn.append(_tile("Answered (coverage)", found["coverage"], "the rest is answered “unsure”"))
    return f'<div class="tiles">{"".join(drawn)}</div>'


def _tile(name: str, value: float, below: str) -> str:
    return f'<div class="tile"><p>{escape(name)}</p><p class="value">{_percent(value)}</p><p>{escape(below)}</p></div>'


def _confusion(found: Summary) -> str:
    labels = found["labels"]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ["true", *labels, "clips"])
    rows = []
    for i, (name, counts) in enumerate(zip(labels, found["confusion"], strict=True)):
        total = sum(counts)
        cells = "".join(_cell(count, total, i == j) for j, count in enumerate(counts))
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}<td class="total">{total:,}</td></tr>')
    return (
        f'<div class="scroll wide"><table class="confusion"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f"{_note('Row: the true emotion. Column: the most probable one. Share of the row, and number of clips.')}"
    )


def _cell(count: int, total: int, right: bool) -> str:
    share = count / total if total else 0.0
    kind = ' class="right"' if right else ""
    text = f"<b>{share:.0%}</b><small>{count:,}</small>" if count else '<small aria-label="none">·</small>'
    return f'<td{kind} style="--share:{share:.3f}">{text}</td>'


def _reliability(found: Summary) -> str:
    bins = found["reliability"]
    low, high = found["intervals"]["ece"]
    words = (
        f"Of answers with 80 % confidence, 80 % should be right. {len(bins['n'])} bins of equally many clips; "
        f"expected calibration error {_percent(found['ece'])} ({_between(low, high)}; a bootstrap's interval lies "
        "high, because a resample repeats clips)."
    )
    return reliability_diagram(bins["confidence"], bins["accuracy"]) + _note(words)


def _abstention(found: Summary) -> str:
    selective = found["selective"]
    words = (
        f"Errors among the most confident answers. Answering the surest {_percent(COVERAGE, 0)} changes accuracy from "
        f"{_percent(found['wa'])} to {_percent(selective['accuracy'])} "
        f"({_points(selective['accuracy'] - found['wa'])} points). Area under the curve: "
        f"{_percent(selective['aurc'])}, the mean error over all coverages; lower is better."
    )
    return risk_coverage_curve(selective["coverage"], selective["risk"], COVERAGE) + _note(words)


def _thresholds(found: Summary) -> str:
    rows = []
    for row in found["risks"]:
        proven = row["threshold"] is not None
        threshold = _percent(row["threshold"]) if proven else "none is proven"
        rows.append((_percent(row["target"], 0), threshold, _percent(row["coverage"]), _percent(row["risk"])))
    return (
        table(("wrong at most", "abstain below", "answered", "wrong here"), rows)
        + _note(
            "Above the threshold the true risk is at most the target with 95 % certainty (Geifman and El-Yaniv "
            "2017), for new clips drawn like these. New speakers may behave worse."
        )
    )  # fmt: skip


def _against(found: Summary) -> str:
    other = found["against"]
    if other is None:
        return ""
    words = (
        f"On {other['n']:,} clips that both answered, UAR is {_points(other['uar'])} points from the other run "
        f"(95 % interval {_points(other['low'])} to {_points(other['high'])}, p = {other['p']:.3f}; paired: the "
        "same people in every draw)."
    )
    return card("Against another run", f"<p>{escape(words)}</p>")


def _groups(found: Summary) -> str:
    kinds = "".join(_kind(kind, groups) for kind, groups in found["groups"].items() if groups)
    if not kinds:
        return "<p>The clips name no speaker, gender, language or corpus.</p>"
    return kinds + _note(
        f"Gap: UAR less that of all others, in points. The interval of a single speaker is over "
        f"their clips. A group more than {100 * GAP:.0f} points below the others "
        f"is marked, and one of fewer than {FEW} clips, whose figures say little."
    )


def _kind(kind: str, groups: Mapping[str, Mapping[str, Any]]) -> str:
    ranked = sorted(groups.items(), key=lambda item: (item[1]["uar"], item[0]))
    rows = [_group(name, scores) for name, scores in ranked]
    folded = ""
    if len(rows) > _SHOWN:
        more = _group_table(kind, rows[_SHOWN:])
        folded = f"<details><summary>{len(rows) - _SHOWN} better ones</summary>{more}</details>"
    return f"<h3>{escape(kind.capitalize())}</h3>{_group_table(kind, rows[:_SHOWN])}{folded}"


def _group_table(kind: str, rows: Iterable[str]) -> str:
    names = (kind, "UAR", "95 % interval", "gap", "accuracy", "clips")
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(rows)
    return (
        f'<div class="scroll wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _group(name: str, scores: Mapping[str, Any]) -> str:
    gap = scores["gap"]
    tags = '<span class="tag low">below the others</span>' if gap is not None and gap < -GAP else ""
    if scores["n"] < FEW:
        tags += '<span class="tag">few clips</span>'
    cells = (
        _percent(scores["uar"]),
        _between(scores["low"], scores["high"]),
        "–" if gap is None else _points(gap),
        _percent(scores["wa"]),
        f"{scores['n']:,}",
    )
    body = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(name)}{tags}</th>{body}</tr>'


def _inputs(found: Summary) -> str:
    """What is left without some of the modalities, and with noise; nothing where neither was tried."""
    cards = []
    if len(found["ablation"]) > 1:
        rows = [("+".join(_CALLED[m] for m in row["inputs"]), row) for row in found["ablation"]]
        note = "Each on the clips that have it; the difference is from all that the same clips have."
        cards.append(card("Modalities", _levels("given", rows) + _note(note)))
    if found["noise"]:
        rows = [("clean" if r["snr"] is None else f"{r['snr']:g} dB", r) for r in found["noise"]]
        scores = ([row[key] for _, row in rows] for key in ("uar", "low", "high"))
        drawn = noise_curve([name for name, _ in rows], *scores)
        note = "Speech alone, with white noise added, at a ratio of mean powers; the difference is from clean speech."
        split = f'<div class="split">{drawn}{_levels("speech", rows)}</div>'
        cards.append(card("Noise", split + _note(note)))
    return "".join(cards)


def _levels(first: str, rows: Sequence[tuple[str, Summary]]) -> str:
    lines = [
        (name, _percent(row["uar"]), _between(row["low"], row["high"]), *_less(row["less"]), f"{row['n']:,}")
        for name, row in rows
    ]
    return table((first, "UAR", "95 % interval", "difference", "p", "clips"), lines)


def _less(less: Summary | None) -> tuple[str, str]:
    if less is None:
        return "–", "–"
    interval = f"{_points(less['low'])} to {_points(less['high'])}"
    return f"{_points(less['uar'])} ({interval})", f"{less['p']:.3f}"


def _mistakes(answers: Sequence[Answer], sounds: Mapping[str, bytes]) -> str:
    if not answers:
        return "<p>None: every clip was recognised.</p>"
    note = _note("The wrong answers of the highest confidence; of a recording, the first 8 seconds.")
    return f'<ol class="mistakes">{"".join(_mistake(a, sounds.get(a.id)) for a in answers)}</ol>{note}'


def _mistake(answer: Answer, sound: bytes | None) -> str:
    unsure = '<span class="tag">answered “unsure”</span>' if answer.abstained else ""
    quoted = f"<p>“{escape(answer.text)}”</p>" if answer.text else ""
    player = ""
    if sound is not None:
        source = base64.b64encode(sound).decode()
        player = f'<audio controls preload="none" src="data:audio/flac;base64,{source}"></audio>'
    about = [answer.id, answer.speaker and f"speaker {answer.speaker}", answer.language, answer.corpus]
    return (
        f"<li><p><b>{escape(answer.said)}</b> {_percent(answer.confidence, 0)}, in truth "
        f"<b>{escape(answer.truth)}</b>{unsure}</p>{quoted}"
        f'<p class="quiet">{escape(" · ".join(filter(None, about)))}</p>{player}</li>'
    )


def _facts(facts: Sequence[tuple[str, str]], config: str) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td><code>{escape(value)}</code></td></tr>'
        for name, value in facts
    )
    folded = f"<details><summary>Settings of the model</summary><pre>{escape(config)}</pre></details>"
    return f'<table class="facts"><tbody>{rows}</tbody></table>{folded if config else ""}'
