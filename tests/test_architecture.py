"""The import table of docs/architecture.md, and "no torch outside learn/", kept by reading every import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "affetto"

NOUNS = {"records", "labels", "errors", "files", "html"}

#: Who may import whom, beside the nouns and their own folder. `cli` may import anything, inside a verb.
ALLOWED: dict[str, set[str]] = {
    "records": set(),
    "labels": set(),
    "errors": set(),
    "files": set(),
    "html": set(),
    "media": set(),
    "features": set(),
    "align": set(),
    "evaluation": set(),
    "data": {"media", "features", "align"},
    "onnx_file": set(),
    "bundle": {"onnx_file"},
    "enrolment": set(),
    "timeline": {"align"},
    "predictor": {"bundle", "enrolment", "media", "features", "align", "timeline"},
    "search": {"predictor", "media"},
    # Limits and the decoding worker are media's, words with times are align's, bundles are verified by bundle,
    # and the page has the picture of a timeline.
    "serving": {"predictor", "search", "bundle", "media", "align", "timeline"},
    "learn.config": {"learn.settings"},
    "learn.settings": set(),
    "learn.ranks": set(),
    "learn.layers": {"learn.ranks"},
    "learn.losses": set(),
    "learn.encoders": {"learn.layers", "learn.ranks", "features"},
    "learn.fusion": {"learn.layers"},
    "learn.decoders": {"learn.layers"},
    "learn.models": {"learn.encoders", "learn.fusion", "learn.decoders", "learn.layers", "learn.config"},
    "learn.training": {
        "learn.ranks", "learn.models", "learn.losses", "learn.config", "learn.settings",
        "data", "media", "features", "align", "evaluation",
    },
    "learn.export": {
        "learn.models", "learn.config", "learn.settings", "learn.layers", "learn.decoders", "bundle", "predictor",
        "evaluation", "features",
        # Delivery begins with a finished run and its clips; training itself never learns of bundles.
        "learn.training", "data",
    },
    "learn.experiments": {"learn.config"},
    "learn.compare": {"learn.training", "learn.models", "learn.config", "learn.settings", "data", "evaluation"},
    "learn.transcribe": {"align"},
}  # fmt: skip

FREE = {"cli", "__init__", "__main__"}
TORCH = {"torch", "lightning", "transformers", "peft", "safetensors", "onnx", "onnxscript", "matplotlib"}


def unit_of(module: str) -> str:
    """`affetto.learn.fusion.hybrid` -> `learn.fusion`; `affetto.media.audio` -> `media`."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2]) if parts[:1] == ["learn"] else ".".join(parts[:1])


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ["affetto", *path.relative_to(SOURCE).with_suffix("").parts]
        found.append((".".join(part for part in parts if part != "__init__"), path))
    return found


def imports(path: Path) -> set[str]:
    """Every absolute module that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize(("module", "path"), modules(), ids=[name for name, _ in modules()])
def test_imports_follow_the_table(module: str, path: Path) -> None:
    unit = unit_of(module) or "__init__"
    if unit in FREE or unit == "learn":
        return
    assert unit in ALLOWED, f"{unit} has no place in the table"
    ours = {unit_of(name) for name in imports(path) if name.startswith("affetto.")}
    strangers = {name for name in ours if name} - NOUNS - {unit} - ALLOWED[unit]
    assert not strangers, f"{module} imports {sorted(strangers)}"


@pytest.mark.parametrize(("module", "path"), modules(), ids=[name for name, _ in modules()])
def test_torch_lives_under_learn_only(module: str, path: Path) -> None:
    if module.startswith("affetto.learn"):
        return
    heavy = {name.split(".")[0] for name in imports(path)} & TORCH
    assert not heavy, f"{module} imports {sorted(heavy)}"


def test_every_module_can_be_told_apart() -> None:
    names = {path.name for _, path in modules()}
    assert not names & {"utils.py", "helpers.py", "common.py", "misc.py"}


def test_importing_affetto_loads_nothing_heavy() -> None:
    code = "import sys, affetto; print(sorted({'torch','onnxruntime','soundfile','PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
