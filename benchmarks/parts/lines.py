"""Results as lines of JSON, so that an interrupted benchmark goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Into the file, and onto the terminal."""
    with path.open("a") as stream:
        print(json.dumps(line), file=stream, flush=True)
    print(json.dumps(line), flush=True)
