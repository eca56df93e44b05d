"""`affetto train`: an experiment, a YAML file or a manifest in; a run folder with a bundle out."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from affetto.cli.launch import launch
from affetto.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from affetto.data.corpora import Corpus
    from affetto.learn.config import ExperimentConfig
    from affetto.learn.training.distillation import Teacher
    from affetto.learn.training.loop import Start
    from affetto.records import Clip

_NEEDED = ("torch", "lightning", "safetensors", "matplotlib", "onnx", "onnxscript")
_MANIFESTS = (".csv", ".jsonl", ".parquet")
_CONFIGS = (".yaml", ".yml")


def train(
    experiment: Annotated[
        str,
        typer.Argument(
            metavar="EXPERIMENT", help="A named experiment, a YAML file, or a manifest of your clips."
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change one setting, like train.stages.0.lr=1e-3."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The run folder; runs/NAME unless said.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    allow_leaks: Annotated[
        str | None,
        typer.Option(
            metavar="CODE,...", help="Train although splits leak, like speaker_leak; the card tells it."
        ),
    ] = None,
    find_rate: Annotated[
        Path | None,
        typer.Option(
            "--find-lr", metavar="PNG", help="Draw the loss over rising learning rates, and train nothing."
        ),
    ] = None,
    adapt: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="Start from the default model: head, low-rank or all of it learns; none: train anew. Few clips "
            "adapt its heads.",
        ),
    ] = None,
) -> None:
    """Train a model, and write it as a bundle that `affetto predict --bundle` takes.

    A manifest of up to 300 clips, labelled with the default model's emotions, adapts that model to them.
    Ctrl-C saves and stops; the same command with --resume goes on as if nothing had happened.
    """
    require_extra()
    from rich.console import Console

    from affetto.cli import adapt as adaptation
    from affetto.learn.config import apply_settings

    out = output or Path("runs") / Path(experiment).stem
    how = _adapts(experiment, adapt, anew=bool(settings or resume or find_rate))
    if how == "few":
        return adaptation.adapt(Console(highlight=False), experiment, out / "bundle", allow_leaks)
    allowed = [f"data.allow_leaks=[{allow_leaks}]"] if allow_leaks else []
    found = find_config(experiment) if how is None else adaptation.adapted_config(experiment, how)
    config = apply_settings(found, [*(settings or []), *allowed])
    if find_rate is not None:
        return _find_rate(config, find_rate)
    if config.train.devices > 1 and "LOCAL_RANK" not in os.environ:
        command = [sys.executable, "-m", "affetto", *sys.argv[1:]]
        raise typer.Exit(launch(command, config.train.devices))
    _run(config, output or Path("runs") / config.name, resume, adapts=how is not None)


def _run(config: ExperimentConfig, output: Path, resume: bool, *, adapts: bool) -> None:
    """Train, and write the bundle; of several ranks the first writes it, and speaks. One that `adapts` is
    compared with the bundle that it began with."""
    from rich.console import Console

    from affetto.cli.adapt import before_and_after
    from affetto.learn.export.deliver import deliver
    from affetto.learn.training.display import Display
    from affetto.learn.training.loop import fit

    first = os.environ.get("RANK", "0") == "0"
    console = Console(highlight=False, quiet=not first)
    teachers = _teachers(config)
    corpora, clips = _clips(console, config)
    result = fit(
        config,
        clips,
        output,
        resume=resume,
        start=starting_point(config),
        teachers=teachers,
        display=Display(console),
    )
    if not first:
        return
    _show_scores(console, result.scores)
    console.print("writing the bundle: parts, their comparison with the model, calibration")
    bundle = deliver(result, clips, corpora, result.run_folder / "bundle")
    if adapts:
        before_and_after(console, str(config.train.start_from), bundle, clips)
    console.print(f"written: {bundle.path}", markup=False, soft_wrap=True)
    console.print(f"next: affetto predict FILE --bundle {bundle.path}", markup=False, soft_wrap=True)


def _clips(console: Console, config: ExperimentConfig) -> tuple[Sequence[Corpus], list[Clip]]:
    """The corpora of an experiment, and their clips with their splits."""
    from affetto.learn.training.corpora import load_corpora, split_clips

    corpora = load_corpora(config.data)
    clips = split_clips([clip for corpus in corpora for clip in corpus.clips], config.data, config.seed)
    _describe(console, config, [clip.split or "train" for clip in clips])
    return corpora, clips


def _adapts(
    experiment: str, asked: str | None, anew: bool
) -> Literal["few", "head", "low-rank", "all"] | None:
    """How a run adapts the default bundle, None for not at all: as asked, else "few" where it is a manifest of few
    clips and none of the options was given that only training has. "few" moves the heads without a training; where
    clips are labelled with more than emotions, "head" trains them.

    Raises ConfigError `option_invalid`, and what reading the manifest raises.
    """
    manifest = Path(experiment).suffix.lower() in _MANIFESTS
    if asked not in (None, "head", "low-rank", "all", "none"):
        raise ConfigError("option_invalid", f"--adapt {asked!r}: expected head, low-rank, all or none")
    if asked not in (None, "none") and not manifest:
        raise ConfigError(
            "option_invalid", f"--adapt {asked} takes a manifest of your clips, not {experiment}"
        )
    if asked == "none" or not manifest or (asked is None and anew):
        return None
    from affetto.cli.adapt import few, of_emotions

    if asked is None:
        return "few" if few(experiment) else None
    if asked != "head" or not of_emotions(experiment):
        return asked  # type: ignore[return-value]
    if anew:
        raise ConfigError(
            "option_invalid", "--adapt head needs no --set, --resume or --find-lr: leave them out"
        )
    return "few"


def require_extra() -> None:
    """Raises ConfigError `extra_missing` unless everything that training needs is installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            "extra_missing", f'training needs {", ".join(missing)}: pip install "affetto[train]"'
        )


def find_config(experiment: str) -> ExperimentConfig:
    """The config of a named experiment, of a YAML file, or one made for a manifest.

    Raises ConfigError `experiment_unknown`, `config_invalid`, `config_unknown_key`; DataError for a manifest
    that cannot be read or has no labels.
    """
    from affetto.learn.config import load_config
    from affetto.learn.experiments import named_experiment

    suffix = Path(experiment).suffix.lower()
    if suffix in _CONFIGS:
        return load_config(experiment)
    if suffix in _MANIFESTS:
        from affetto.data.manifest import read_manifest
        from affetto.data.precomputed import feature_sizes
        from affetto.learn.experiments.own import own

        clips = read_manifest(experiment)
        return own(experiment, Path(experiment).stem, clips, feature_sizes(clips))
    return named_experiment(experiment)


def starting_point(config: ExperimentConfig) -> Start | None:
    """The model of the bundle that `train.start_from` names, and its tokenizer."""
    if config.train.start_from is None:
        return None
    from affetto.bundle import open_bundle
    from affetto.learn.export.writer import load_model
    from affetto.learn.models.build import backbones
    from affetto.learn.training.loop import Start

    bundle = open_bundle(config.train.start_from)
    model = load_model(bundle)
    has_text = "tokenizer.json" in bundle.info.files
    return Start(
        model.state_dict(),
        bundle.read("tokenizer.json") if has_text else None,
        {part: backbone.form for part, backbone in backbones(model).items()},
    )


def _find_rate(config: ExperimentConfig, path: Path) -> None:
    from rich.console import Console

    from affetto.learn.training.rate_finder import draw_rates, find_rate

    console = Console(highlight=False)
    teachers = _teachers(config)
    _, clips = _clips(console, config)
    curve = find_rate(config, clips, start=starting_point(config), teachers=teachers)
    draw_rates(curve, path)
    console.print(
        f"the loss falls fastest at {curve.suggestion:.1e}: try --set train.stages.0.lr={curve.suggestion:.1e}",
        soft_wrap=True,
    )
    console.print(f"written: {path}", markup=False, soft_wrap=True)


def _teachers(config: ExperimentConfig) -> dict[str, Teacher]:
    """The models of the bundles that stages learn from, by their path.

    Raises ConfigError `config_invalid` when one is not there, and what opening a bundle raises.
    """
    paths = {stage.distil.teacher: stage.name for stage in config.train.stages if stage.distil is not None}
    if not paths:
        return {}
    for path, stage in paths.items():
        if not Path(path).exists():
            raise ConfigError(
                "config_invalid",
                f"stage {stage}: distil.teacher {path} is not there: give it a bundle to learn from (the default "
                "model's is what `affetto train text_lora` makes), or set the stage's distil to null",
            )
    from affetto.bundle import open_bundle
    from affetto.features.text import load_tokenizer
    from affetto.learn.export.writer import load_config, load_model
    from affetto.learn.training.distillation import Teacher

    found = {}
    for path in paths:
        bundle = open_bundle(path)
        has_text = "tokenizer.json" in bundle.info.files
        tokenizer = load_tokenizer(bundle.read("tokenizer.json")) if has_text else None
        found[path] = Teacher(load_model(bundle), load_config(bundle), tokenizer)
    return found


def _describe(console: Console, config: ExperimentConfig, splits: list[str]) -> None:
    counts = ", ".join(f"{splits.count(name)} {name}" for name in ("train", "validation", "test"))
    console.print(f"{config.name}: {counts} clips, seed {config.seed}", markup=False, soft_wrap=True)


def _show_scores(console: Console, scores: Mapping[str, float]) -> None:
    from rich.table import Table

    table = Table("validation", "view", "score", "value", title_justify="left")
    for name, value in scores.items():
        task, view, score = name.rsplit(".", 2)
        table.add_row(task, view, score, f"{value:.3f}")
    if scores:
        console.print(table)
