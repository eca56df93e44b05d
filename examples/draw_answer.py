"""Draws docs/answer.svg, the README's picture: one answer of the default model, as a terminal shows it."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

from rich.console import Console

import affetto
from affetto.cli.show import show

FOLDER = Path(__file__).parent
TEXT = "I miss him so much. The house is so empty now."


def main() -> None:
    """Predict, print into a recording console, save without the web fonts that rich would link to."""
    console = Console(record=True, width=92, force_terminal=True, file=StringIO())
    answer = affetto.load().predict(speech=FOLDER / "goodbye.flac", text=TEXT, file="goodbye.flac")
    console.print(f'$ affetto predict goodbye.flac --text "{TEXT}"', style="bold", highlight=False)
    show(answer, console)
    picture = re.sub(r"@font-face\s*\{.*?\}", "", console.export_svg(title="affetto"), flags=re.DOTALL)
    (FOLDER.parent / "docs" / "answer.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
