"""A table in the terminal, as Markdown, CSV and JSON, and as a plot: all of the same rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from affetto.evaluation.comparison import METRICS, Estimate
from affetto.files import write_whole
from affetto.learn.compare.table import N_BOOT, Row, Table, missing

#: How the metrics are called.
TITLES = {"accuracy": "accuracy", "uar": "UAR", "macro_f1": "macro F1"}


def write_report(table: Table, folder: Path) -> list[Path]:
    """`table.md`, `table.csv`, `table.json` and `table.png` in a folder."""
    buffer = io.BytesIO()
    _draw(table, buffer)
    contents = {
        "table.md": _markdown(table).encode(),
        "table.csv": _csv(table).encode(),
        "table.json": (json.dumps(asdict(table), indent=1) + "\n").encode(),
        "table.png": buffer.getvalue(),
    }
    for name, data in contents.items():
        write_whole(folder / name, data)
    return [folder / name for name in contents]


def render(table: Table) -> RenderableType:
    """The tables for `rich`: all modalities, then what is left when some are missing."""
    parts: list[RenderableType] = []
    for header, rows in _tables(table):
        grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
        for place, title in enumerate(header):
            grid.add_column(Text(title), justify="right" if place else "left")
        for row in rows:
            grid.add_row(*(Text(cell) for cell in row))
        parts.append(grid)
    return Group(*parts, *(Text(line) for line in notes(table)))


def notes(table: Table) -> list[str]:
    """What the numbers are, in sentences."""
    seeds = sorted({row.seeds for row in table.rows})
    counted = f"{seeds[-1]} seed{'s' if seeds[-1] > 1 else ''}"
    drawn = "speakers" if table.people else "clips"
    lines = [
        f"{table.clips} test clips of {table.people or 'unknown'} speakers, {counted}. +- is the standard "
        f"deviation over seeds; intervals are 95 %, a bootstrap over {drawn} ({N_BOOT} draws) of the mean over "
        "seeds.",
    ]
    if table.reference is not None:
        alone = any(row.alone for row in table.rows)
        best = ", the best single modality on these clips" if alone else ""
        lines.append(
            f"Differences in {TITLES[table.metric]} are from {table.reference}{best}; p is two-sided, by a paired "
            f"bootstrap over {drawn}, and not corrected for the number of rows."
        )
    return lines


def _tables(table: Table) -> list[tuple[list[str], list[list[str]]]]:
    """Scores; differences and costs; and, one table for each score shown, what is left of it."""
    lead = TITLES[table.metric]
    others = [name for name in METRICS if name != table.metric]
    scores = [_score(row, table.metric, others) for row in table.rows]
    found = [(["model", lead, "95 % interval", *(TITLES[name] for name in others)], scores)]
    header = ["model", "parameters", "ms a step"]
    if table.reference is not None:
        header[1:1] = [f"{lead} - {table.reference}", "95 % interval", "p"]
    found.append((header, [_cost(row, table.reference is not None) for row in table.rows]))
    gone = missing(table)
    fused = [row for row in table.rows if not row.alone]
    for name in dict.fromkeys((table.metric, "uar")) if gone else ():
        left = [[row.variant, *(_mean(row, subset, name) for _, subset in gone)] for row in fused]
        found.append(([f"{TITLES[name]} without", *(what for what, _ in gone)], left))
    return found


def _score(row: Row, metric: str, others: Sequence[str]) -> list[str]:
    lead = row.whole[metric]
    return [
        row.variant,
        f"{lead.mean:.3f} +- {lead.deviation:.3f}",
        f"{lead.low:.3f} to {lead.high:.3f}",
        *(f"{row.whole[name].mean:.3f}" for name in others),
    ]


def _cost(row: Row, compared: bool) -> list[str]:
    better = row.better
    gap = ["", "", ""] if compared else []
    if better is not None:
        gap = [f"{better.mean:+.3f}", f"{better.low:+.3f} to {better.high:+.3f}", f"{better.p:.3f}"]
    return [row.variant, *gap, f"{row.parameters:,}", f"{row.step_ms:.1f}"]


def _mean(row: Row, subset: str, metric: str) -> str:
    return f"{row.scores[subset][metric].mean:.3f}" if subset in row.scores else ""


def _markdown(table: Table) -> str:
    lines = []
    for header, rows in _tables(table):
        lines += [_line(header), _line(["---"] * len(header)), *(_line(row) for row in rows), ""]
    return "\n".join([*lines, *notes(table)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _csv(table: Table) -> str:
    """One line for every model, subset and metric."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    estimates, differences = ("mean", "deviation", "low", "high"), ("mean", "low", "high", "p")
    gaps = [f"difference_{name}" for name in differences]
    rows.writerow(["model", "modalities", "metric", *estimates, *gaps, "seeds", "parameters", "step_ms"])
    for row in table.rows:
        for subset, scores in row.scores.items():
            for metric, score in scores.items():
                first = scores is row.whole and metric == table.metric
                better = row.better if first else None
                cells = ["" if better is None else getattr(better, name) for name in differences]
                values = [getattr(score, name) for name in estimates]
                rows.writerow(
                    [row.variant, subset, metric, *values, *cells, row.seeds, row.parameters, row.step_ms]
                )
    return text.getvalue()


def _draw(table: Table, target: io.BytesIO) -> None:
    # The object-oriented interface with its own canvas: no display, no global state, no `pyplot`.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = sorted(table.rows, key=lambda row: row.whole[table.metric].mean)
    gone = [pair for pair in missing(table) if " and " not in pair[0]]
    figure = Figure(figsize=(11, 1.6 + 0.34 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for place, row in enumerate(rows):
        score: Estimate = row.whole[table.metric]
        colour = "tab:grey" if row.alone else "tab:blue"
        left.plot([score.low, score.high], [place, place], color=colour, linewidth=2)
        left.plot(score.mean, place, "o", color=colour)
        right.plot(score.mean, place, "o", color=colour)
    for colour, (what, subset) in zip(("tab:orange", "tab:red", "tab:green"), gone, strict=False):
        having = [(place, row.scores[subset]) for place, row in enumerate(rows) if not row.alone]
        values = [scores[table.metric].mean for _, scores in having]
        right.plot(values, [place for place, _ in having], "x", color=colour, label=f"without {what}")
    reference = next((row for row in rows if row.variant == table.reference), None)
    if reference is not None:
        left.axvline(reference.whole[table.metric].mean, color="tab:grey", linestyle=":")
    left.set_yticks(range(len(rows)), [row.variant for row in rows])
    left.set(title=f"{table.task}: {TITLES[table.metric]}, 95 % interval over speakers")
    right.set(title="with one modality missing")
    if gone:
        right.legend(fontsize="small")
    FigureCanvasAgg(figure).print_png(target)
