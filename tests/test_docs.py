"""Every documented example runs, from the repository root: ```python blocks and `affetto` lines of ```bash blocks.

What cannot run here (training for an hour, a recording of yours) stands in ```text blocks.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from affetto.cli.app import main

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def blocks(language: str) -> list[tuple[str, str]]:
    """(page and line, code) of every block of a language."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text[: match.start()].count("\n") + 2
            found.append((f"{page.relative_to(ROOT)}:{line}", match.group(1)))
    return found


def commands() -> list[tuple[str, str]]:
    """(page and line, command) of every `affetto` line in a bash block, where it stands first."""
    found: dict[str, str] = {}
    for place, code in blocks("bash"):
        for line in code.replace("\\\n", " ").splitlines():
            if line.startswith("affetto "):
                found.setdefault(line, place)
    return [(place, line) for line, place in found.items()]


@pytest.mark.parametrize(("place", "code"), blocks("python"), ids=[place for place, _ in blocks("python")])
def test_python_block_runs(place: str, code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{place}\n{done.stderr}"


@pytest.mark.parametrize(("place", "command"), commands(), ids=[f"{p} {c}" for p, c in commands()])
def test_command_runs(
    place: str,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: that a fresh one imports what a command needs is for tests/cli to say."""
    monkeypatch.chdir(ROOT)
    arguments = [
        str(tmp_path / word) if word.startswith("out.") else word for word in shlex.split(command)[1:]
    ]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0, f"{place}\n{capsys.readouterr().err}"


def test_relative_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_the_page_on_the_law_is_not_older_than_half_a_year() -> None:
    import datetime

    page = (ROOT / "docs" / "responsible-use.md").read_text(encoding="utf-8")
    checked = re.search(r"Last checked on (\d{4}-\d{2}-\d{2})", page)
    assert checked, "docs/responsible-use.md must say when its facts were last checked"
    age = datetime.date.today() - datetime.date.fromisoformat(checked.group(1))
    assert age.days <= 180, "check the facts of docs/responsible-use.md again, then move its date"
