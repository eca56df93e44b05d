"""The folder of a run: its config, tokenizer, checkpoints, metrics and curves; one trainer at a time.

runs/NAME/  config.yaml  metrics.jsonl  curves.png  tokenizer.json  unreadable.csv  backbones.json
            checkpoints/  predictions/  adapters/  bundle/
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from affetto.errors import AffettoError, DataError, TrainingError
from affetto.files import write_whole
from affetto.learn import ranks
from affetto.learn.config import ExperimentConfig, from_yaml, to_yaml
from affetto.learn.training.checkpoint import best_path, clear_parts, save_last, write_checkpoint

_LOCK = ".lock"


@dataclass(frozen=True)
class RunFolder:
    """Where the parts of a run stand.

    keep: how many checkpoints. writes: off in all ranks but one; what these write is not written.
    """

    path: Path
    keep: int = 2
    writes: bool = True

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer.json"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions"

    @property
    def bundle(self) -> Path:
        return self.path / "bundle"

    def write_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """All that was measured, one JSON object a line, exactly as the checkpoint beside it has it."""
        lines = "".join(json.dumps(record) + "\n" for record in history)
        self._write("metrics.jsonl", lines.encode())

    def write_backbones(self, forms: Mapping[str, Mapping[str, Any]]) -> None:
        """Which pretrained files the run began with, by part of the model. A resumed run has to find the same.

        Raises TrainingError `run_exists` when it does not.
        """
        path = self.path / "backbones.json"
        found = {part: {"path": form["path"], "revision": form["revision"]} for part, form in forms.items()}
        if found and path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            for part, form in found.items():
                if before.get(part, form)["revision"] != form["revision"]:
                    raise TrainingError(
                        "run_exists",
                        f"{self.path} began with revision {before[part]['revision']} of {form['path']}, which is now "
                        f"{form['revision']}: set model.{part}.backbone.revision, or restore the folder",
                    )
        elif found:
            self._write(path.name, (json.dumps(found, indent=1) + "\n").encode())

    def write_unreadable(self, errors: Mapping[tuple[str | None, str], AffettoError]) -> None:
        """The clips that were left out because they cannot be decoded: corpus, id, code, message."""
        table = io.StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("corpus", "id", "code", "message"))
        rows.writerows((*key, error.code, str(error)) for key, error in errors.items())
        self._write("unreadable.csv", table.getvalue().encode())

    def write_curves(self, history: Sequence[Mapping[str, Any]]) -> None:
        """`curves.png`: the loss and every validation score over steps, one row of pictures per stage."""
        if history and self.writes:
            buffer = io.BytesIO()
            _draw(history, buffer)
            self._write("curves.png", buffer.getvalue())

    def write_tokenizer(self, content: str) -> None:
        """The run's tokenizer, as JSON."""
        self._write(self.tokenizer.name, content.encode())

    def save_last(self, state: Mapping[str, Any]) -> None:
        """Where the run stands, keeping what was saved before. Raises DataError `output_unwritable`."""
        if self.writes:
            save_last(self.checkpoints, state, self.keep)

    def save_best(self, stage: str, state: Mapping[str, Any]) -> None:
        """The best weights of a stage. Raises DataError `output_unwritable`."""
        if self.writes:
            write_checkpoint(best_path(self.checkpoints, stage), state)

    def _write(self, name: str, content: bytes) -> None:
        if self.writes:
            write_whole(self.path / name, content)


@contextmanager
def open_run(path: str | Path, config: ExperimentConfig, *, resume: bool = False) -> Iterator[RunFolder]:
    """Take a run folder for as long as the block lasts; a new one gets the config.

    Raises TrainingError `run_exists` when the folder holds a run and `resume` is off, when it holds another
    run than `config` describes, or when another process trains in it; DataError `output_unwritable`. A run
    that has not saved anything yet is none: the folder is taken over. Of several ranks one takes it for all.
    """
    run = RunFolder(Path(path), config.train.keep, writes=ranks.rank() == 0)
    if not run.writes:
        ranks.wait()
        yield run
        return
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            "output_unwritable",
            f"cannot make the run folder {path}: {error.strerror}; choose another with -o",
        ) from error
    with locked(run.path):
        _claim(run, config, resume)
        run.checkpoints.mkdir(exist_ok=True)
        run.predictions.mkdir(exist_ok=True)
        for folder in (run.path, run.checkpoints):
            clear_parts(folder)
        ranks.wait()
        yield run


def _claim(run: RunFolder, config: ExperimentConfig, resume: bool) -> None:
    stored = run.path / "config.yaml"
    if not any(run.checkpoints.glob("*.ckpt")):
        if not stored.exists() and any(not _ours(entry.name) for entry in run.path.iterdir()):
            raise TrainingError("run_exists", f"{run.path} holds other files and no run; choose another -o")
        # What a run leaves that never came to save anything is of no use to this one.
        run.tokenizer.unlink(missing_ok=True)
        write_whole(stored, to_yaml(config).encode())
        return
    if not resume:
        raise TrainingError(
            "run_exists", f"{run.path} already holds a run; go on with it by --resume, or choose another -o"
        )
    if not stored.exists():
        raise TrainingError(
            "run_exists", f"{run.path} holds checkpoints but no config.yaml; choose another -o"
        )
    # Read as a config, so that a setting that came later has its default there.
    before = to_yaml(from_yaml(stored.read_text(encoding="utf-8")))
    changed = _differences(before, to_yaml(config))
    if changed:
        raise TrainingError(
            "run_exists",
            f"{run.path} holds a run with other settings ({', '.join(changed)}); choose another -o",
        )


def _ours(name: str) -> bool:
    """Whether a file may stand in a folder that has no config yet: a run was killed that wanted to write one."""
    return name == _LOCK or fnmatch(name, ".config.yaml.*.part")


def _differences(before: str, after: str) -> list[str]:
    old, new = dict(_leaves(yaml.safe_load(before))), dict(_leaves(yaml.safe_load(after)))
    return [key for key in dict.fromkeys([*old, *new]) if old.get(key, ...) != new.get(key, ...)]


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a tree with its dotted path."""
    parts = tree if isinstance(tree, dict) else dict(enumerate(tree)) if isinstance(tree, list) else {}
    if not parts:
        yield path, tree
    for key, part in parts.items():
        yield from _leaves(part, f"{path}.{key}" if path else str(key))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """An advisory lock that the system drops with the process: nothing stale is ever left behind.

    Raises TrainingError `run_exists` while another process has it; DataError `output_unwritable`.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system: the config check above still guards the folder
        yield
        return
    try:
        descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR)
    except OSError as error:
        raise DataError(
            "output_unwritable", f"cannot write in {folder}: {error.strerror}; choose another folder with -o"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainingError(
                "run_exists", f"another process is training in {folder}; wait for it, or choose another -o"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _draw(history: Sequence[Mapping[str, Any]], target: io.BytesIO) -> None:
    # The object-oriented interface with its own canvas: no display, no global state, no `pyplot`.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stages = list(dict.fromkeys(record["stage"] for record in history))
    figure = Figure(figsize=(11, 3.6 * len(stages)))
    figure.subplots_adjust(
        left=0.06, right=0.98, bottom=0.15 / len(stages), top=1 - 0.1 / len(stages), hspace=0.4
    )
    axes = figure.subplots(len(stages), 2, squeeze=False)
    for (left, right), stage in zip(axes, stages, strict=True):
        records = [record for record in history if record["stage"] == stage]
        steps = [record["step"] for record in records]
        left.plot(steps, [record["loss"] for record in records], marker=".")
        left.set(title=f"{stage}: training loss", xlabel="step")
        names = dict.fromkeys(name for record in records for name in record["scores"])
        for name in (name for name in names if not name.endswith(".wa")):
            right.plot(steps, [record["scores"].get(name) for record in records], marker=".", label=name)
        right.set(title=f"{stage}: validation", xlabel="step")
        if right.lines:
            right.legend(fontsize="x-small")
    FigureCanvasAgg(figure).print_png(target)
