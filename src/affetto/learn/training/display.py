"""What a person sees of a run: a moving bar in a terminal, a line per validation in a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

T = TypeVar("T")

_SHOWN_SCORES = 6


class Display:
    """Writes to a console, or nowhere when there is none."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._started = time.monotonic()

    def note(self, text: str) -> None:
        """One line of plain news."""
        if self._console is not None:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def wrap(self, items: Sequence[T], title: str) -> Iterator[T]:
        """The items, with a bar while they are gone through."""
        self._begin(title, len(items))
        try:
            for item in items:
                yield item
                self._advance(1)
        finally:
            self.end()

    def stage(self, name: str, total: int, done: int) -> None:
        """A stage begins, or goes on after `done` of its steps."""
        self.note(f"stage {name}: {total} steps" + (f", going on after {done}" if done else ""))
        self._begin(name, total)
        self._advance(done)

    def step(self, step: int, loss: float) -> None:
        """A step is done."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step, loss=f"loss {loss:.3f}")

    def validated(self, record: Mapping[str, Any]) -> None:
        """What was measured after a stretch of steps."""
        parts = [f"{name} {value:.3f}" for name, value in _most_telling(record["scores"])]
        elapsed = time.monotonic() - self._started
        self.note(
            f"  {record['stage']} step {record['step']} (epoch {record['epoch']:.1f}, {elapsed:.0f} s)  "
            + "  ".join([f"loss {record['loss']:.3f}", *parts])
        )

    def end(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._task = None

    def _begin(self, title: str, total: int) -> None:
        self.end()
        if self._console is None or not self._console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task(title, total=total, loss="")
        self._progress.start()

    def _advance(self, steps: int) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, steps)


def _most_telling(scores: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    """The decisive scores only: `emotion.vote.uar` rather than its `wa` as well."""
    return [(name, value) for name, value in scores.items() if not name.endswith(".wa")][:_SHOWN_SCORES]
