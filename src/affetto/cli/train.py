"""`affetto train`: an experiment, a YAML file or a manifest in; a run folder with a bundle out."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affetto.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from affetto.data.manifest import Corpus
    from affetto.learn.config import ExperimentConfig
    from affetto.learn.export.calibrate import Labelled
    from affetto.learn.export.writer import Facts
    from affetto.learn.training.loop import FitResult, Start
    from affetto.records import Clip

_NEEDED = ("torch", "lightning", "safetensors", "matplotlib", "onnx", "onnxscript")
_MANIFESTS = (".csv", ".jsonl", ".parquet")
_CONFIGS = (".yaml", ".yml")
_ITEMS = 400  # clips of a kind that calibration is fitted on
_EXAMPLES = 200  # clips that give int8 its scales


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
) -> None:
    """Train a model, and write it as a bundle that `affetto predict --bundle` takes.

    Ctrl-C saves and stops; the same command with --resume goes on as if nothing had happened.
    """
    require_extra()
    from rich.console import Console

    from affetto.learn.config import apply_settings
    from affetto.learn.training.corpora import load_corpora, split_clips
    from affetto.learn.training.display import Display
    from affetto.learn.training.loop import fit

    config = apply_settings(find_config(experiment), settings or [])
    console = Console(highlight=False)
    corpora = load_corpora(config.data)
    clips = split_clips([clip for corpus in corpora for clip in corpus.clips], config.data, config.seed)
    _describe(console, config, [clip.split or "train" for clip in clips])
    result = fit(
        config,
        clips,
        output or Path("runs") / config.name,
        resume=resume,
        start=_start(config),
        display=Display(console),
    )
    _show_scores(console, result.scores)
    console.print("writing the bundle: parts, their comparison with the model, calibration")
    bundle = make_bundle(result, clips, corpora)
    console.print(f"written: {bundle}", markup=False, soft_wrap=True)
    console.print(f"next: affetto predict FILE --bundle {bundle}", markup=False, soft_wrap=True)


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
        from affetto.learn.experiments.own import own

        return own(experiment, Path(experiment).stem, read_manifest(experiment))
    return named_experiment(experiment)


def _start(config: ExperimentConfig) -> Start | None:
    """The weights and tokenizer of the bundle that `train.start_from` names."""
    if config.train.start_from is None:
        return None
    from affetto.bundle import open_bundle
    from affetto.learn.export.writer import load_model
    from affetto.learn.training.loop import Start

    bundle = open_bundle(config.train.start_from)
    has_text = "tokenizer.json" in bundle.info.files
    return Start(load_model(bundle).state_dict(), bundle.read("tokenizer.json") if has_text else None)


def make_bundle(result: FitResult, clips: Sequence[Clip], corpora: Sequence[Corpus]) -> Path:
    """The bundle of a run, calibrated on its validation clips, at `bundle` in the run folder.

    Without validation clips the scales of int8 come from training clips, and nothing is calibrated.
    """
    from affetto.learn.export.calibrate import fit_calibration
    from affetto.learn.export.writer import with_calibration, write_bundle

    config = result.config
    labelled = bundle_items(result, [clip for clip in clips if clip.split == "validation"])
    examples = labelled or bundle_items(result, [clip for clip in clips if clip.split == "train"])
    facts = _facts(result, clips, corpora)
    out = result.run_folder / "bundle"
    bundle = write_bundle(
        result.recogniser,
        config.model,
        out,
        facts,
        tokenizer=result.tokenizer.to_str().encode() if result.tokenizer is not None else None,
        examples=[item.inputs for item in examples[:_EXAMPLES]],
    )
    if labelled:
        with_calibration(bundle, out, fit_calibration(bundle, labelled), facts.card)
    return out


def bundle_items(result: FitResult, clips: Sequence[Clip]) -> list[Labelled]:
    """Prepared media of some clips with what is true of them, composed ones first where the run composes.

    At most 400 of each kind, drawn by the run's seed.
    """
    from affetto.learn.export.calibrate import Labelled
    from affetto.learn.training.pairing import only_evidence, pair_by_label, pair_count
    from affetto.learn.training.randomness import generator
    from affetto.learn.training.targets import target_of

    config = result.config
    task, modalities = config.model.tasks[0], config.model.modalities
    readable = [only_evidence(c, modalities) for c in clips if (c.corpus, c.id) not in result.unreadable]
    readable = [clip for clip in readable if clip.modalities()]
    rng = generator(config.seed, "bundle")
    chosen = [readable[i] for i in rng.permutation(len(readable))[:_ITEMS]]
    pairs = pair_count(readable, task, modalities)
    if pairs and any(stage.paired for stage in config.train.stages):
        size = min(_ITEMS, 3 * pairs)
        chosen = [*pair_by_label(readable, rng, task=task, modalities=modalities, size=size), *chosen]
    items = []
    for clip in chosen:
        targets = {task.name: target_of(clip, task) for task in config.model.tasks}
        known = {name: target for name, target in targets.items() if target is not None}
        items.append(Labelled(result.cache.inputs(clip), known))
    return items


def _facts(result: FitResult, clips: Sequence[Clip], corpora: Sequence[Corpus]) -> Facts:
    from affetto.bundle import CorpusInfo
    from affetto.learn.export.card import Card, Result
    from affetto.learn.export.writer import Facts
    from affetto.learn.training.targets import label_of

    config = result.config
    learnt = [clip for clip in clips if clip.split == "train"]
    read = [c for c in learnt if "text" in c.modalities() and label_of(c, config.model.tasks[0]) is not None]
    return Facts(
        name=config.name,
        version="1",
        licence="; ".join(dict.fromkeys(corpus.licence for corpus in corpora)),
        languages=tuple(sorted({clip.language or "und" for clip in read})),
        corpora=tuple(
            CorpusInfo(name=c.name, licence=c.licence, clips=sum(clip.corpus == c.name for clip in learnt))
            for c in corpora
        ),
        reserved=config.data.reserved,
        card=Card(
            trained=f"`affetto train {config.name}`, seed {config.seed}, {len(learnt)} clips.",
            results=tuple(
                Result("validation clips of the run", name, value) for name, value in result.scores.items()
            ),
        ),
    )


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
