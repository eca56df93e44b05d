"""`affetto compare`: an experiment with settings that vary in; one table and one plot out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from affetto.cli.train import find_config, require_extra, starting_point
from affetto.errors import ConfigError


def compare(
    experiment: Annotated[
        str,
        typer.Argument(
            metavar="EXPERIMENT", help="A named experiment, a YAML file, or a manifest of your clips."
        ),
    ],
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", metavar="PATH=A,B,C", help="A setting and its values, like model.fusion=a,b."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each model, with seeds 0, 1, ...")] = 5,
    folds: Annotated[
        str | None,
        typer.Option(
            metavar="BY[:K]",
            help="Test every clip once: speaker:5, session, sentence:10, speaker+sentence:3; without K, each alone.",
        ),
    ] = None,
    metric: Annotated[str, typer.Option(help="What is compared: accuracy, uar or macro_f1.")] = "accuracy",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change one setting of all, like train.devices=0."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder; runs/compare-NAME unless said.")
    ] = None,
) -> None:
    """Train every combination of the settings that vary, and each modality alone, and compare them on the test clips.

    With --folds all clips are tested, each by models that were trained without its fold; one more row is what the
    settings' own validation would have chosen, fold by fold.
    Ctrl-C saves and stops; the same command goes on. What is finished is never run again: more seeds or values add
    to the same folder.
    """
    require_extra()
    from rich.console import Console

    from affetto.evaluation.comparison import METRICS
    from affetto.learn.compare import grid, report, runs, table
    from affetto.learn.compare.folds import compare_folds, parse_folds
    from affetto.learn.config import apply_settings
    from affetto.learn.training.display import Display

    if metric not in METRICS:
        raise ConfigError("option_invalid", f"--metric {metric!r}: expected one of {', '.join(METRICS)}")
    config = apply_settings(find_config(experiment), settings or [])
    console = Console(highlight=False)
    folder = output or Path("runs") / f"compare-{config.name}"
    variants, start, display = grid.variants(config, vary or []), starting_point(config), Display(console)
    if folds is None:
        found = runs.compare(variants, seeds, folder, start=start, display=display)
    else:
        found = compare_folds(variants, parse_folds(folds), seeds, folder, start=start, display=display)
    made = table.make_table(found, metric)
    console.print(report.render(made))
    for path in report.write_report(made, folder):
        console.print(f"written: {path}", markup=False, soft_wrap=True)
