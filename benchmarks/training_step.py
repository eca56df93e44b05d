"""What a step of a run costs, as a multiple of a plain loop's over the same model, batches, losses and AdamW.

    python benchmarks/training_step.py             9 rounds of 40 steps
    python benchmarks/training_step.py --rounds 3

The plain loop does what nobody would leave out: batches from a loader, the rate set, forward, loss, backward, the
gradient clipped, a step. The run is `fit`'s: Lightning, seeds by step, checks that loss and gradient are finite,
the books, signals, the display, and a save at the end, which is left out of the time. Both train the `tiny`
experiment's fusion stage on tones and words made here. They take turns, the order changing with each round, on
one thread; the processor's time of this process is measured, and a round in which others took more than 6 % of
the machine is left out; fewer than 5 rounds are no result.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from itertools import chain, islice, pairwise
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1] / "tests" / "learn" / "training"))
import conftest as corpus
from affetto.learn.config import ExperimentConfig, TrainConfig
from affetto.learn.experiments.tiny import tiny
from affetto.learn.training.display import Display
from affetto.learn.training.loaders import make_loader
from affetto.learn.training.loop import begin, fit
from affetto.learn.training.media_cache import MediaCache
from affetto.learn.training.optimisation import learning_rate
from affetto.learn.training.run_folder import RunFolder
from affetto.learn.training.stage import StageModule, StageState
from affetto.records import Clip

STEPS, WARM = 40, 5
MOST_TAKEN = 0.06
ENOUGH = 5


class Clock(Display):
    """Notes the processor's time at the end of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks: list[float] = []

    def step(self, step: int, loss: float) -> None:
        self.ticks.append(time.process_time())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    config, clips = experiment(), corpus.make_clips((30, 0))
    texts = corpus.train_tokenizer([clip.text for clip in clips if clip.text], 300)
    cache = MediaCache(
        config.model, texts, decode_speech=corpus.decode_speech, decode_face=corpus.decode_face
    )
    times: dict[str, list[float]] = {"run": [], "plain": []}
    quiet = []
    for number in range(rounds):
        before = processor()
        for name in ("run", "plain") if number % 2 else ("plain", "run"):
            with tempfile.TemporaryDirectory() as folder:
                ticks = (run if name == "run" else plain)(config, clips, cache, Path(folder))
            times[name].append(1000 * statistics.median(b - a for a, b in pairwise(ticks[WARM:])))
        machine, own, most = (now - then for now, then in zip(processor(), before, strict=True))
        quiet.append(machine - own <= MOST_TAKEN * most)
    ratios = [run / plain for run, plain in zip(times["run"], times["plain"], strict=True)]
    counted = [ratio for ratio, alone in zip(ratios, quiet, strict=True) if alone]
    print(
        json.dumps(
            {
                **{f"{name}_ms": round(statistics.median(found), 2) for name, found in times.items()},
                "ratio": round(statistics.median(counted), 3) if len(counted) >= ENOUGH else "no result",
                "quiet_rounds": len(counted),
                "ratio_busy_or_not": round(statistics.median(ratios), 3),
            }
        )
    )


def experiment() -> ExperimentConfig:
    """`STEPS` steps of the fusion stage of `tiny`."""
    config = tiny()
    stage = replace(config.train.stages[-1], epochs=None, steps=STEPS, freeze=(), validate_every=STEPS + 1)
    task = replace(config.model.tasks[0], labels=corpus.EMOTIONS)
    data = replace(config.data, allow_leaks=("sentence_leak",))
    train = TrainConfig((stage,), devices=0)
    return replace(config, data=data, model=replace(config.model, tasks=(task,)), train=train)


def run(config: ExperimentConfig, clips: list[Clip], cache: MediaCache, folder: Path) -> list[float]:
    """The processor's time at the end of each step of `fit`."""
    clock = Clock()
    fit(config, clips, folder, cache=cache, display=clock)
    return clock.ticks


def plain(config: ExperimentConfig, clips: list[Clip], cache: MediaCache, folder: Path) -> list[float]:
    """The same of a loop as anybody would write it."""
    begun, _ = begin(config, clips, RunFolder(folder), cache=cache, display=Display())
    stage = config.train.stages[0]
    module = StageModule(begun, stage, StageState())
    begun.recogniser.train()
    optimiser = module.configure_optimizers()
    trained = [value for value in begun.recogniser.parameters() if value.requires_grad]
    ticks = []
    epochs = (module.plan.batches(epoch) for epoch in range(STEPS))
    for step, batch in enumerate(make_loader(module.plan.builder(), list(islice(chain(*epochs), STEPS)))):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, STEPS, stage.lr, stage.warmup, stage.schedule)
        loss = module.loss_of(batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, stage.clip_norm)
        optimiser.step()
        ticks.append(time.process_time())
    return ticks


def processor() -> tuple[float, float, float]:
    """Seconds so far: of all work on this machine, of this process, and those that there were to be had."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    ticks = os.sysconf("SC_CLK_TCK")
    return (sum(fields) - fields[3] - fields[4]) / ticks, time.process_time(), sum(fields) / ticks


if __name__ == "__main__":
    main()
