"""What `kill -9` costs: during the writing of checkpoints, and at random moments of a run.

    python benchmarks/survival.py                         500 kills of a writer, 20 of runs
    python benchmarks/survival.py --writer 50 --runs 4    fewer

A *writer* saves states of random sizes as fast as it can, with the function that a run uses, and says through
a pipe what it has saved; it is killed at a random moment and the next one goes on. After each kill the folder
is read as a resumed run reads it. *Runs* train a small model with dropout, augmentation, averaged weights and
two stages, and are killed at random steps, in validation and in saving too, until they end; what they leave is
compared byte for byte with a run that nobody killed. Processes are forked, so a kill costs no start.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

import torch

sys.path.append(str(Path(__file__).parents[1] / "tests" / "learn" / "training"))

import conftest as corpus
from affetto.learn.config import (
    AugmentConfig,
    DataConfig,
    ExperimentConfig,
    FusionConfig,
    ModelConfig,
    SpeechConfig,
    StageConfig,
    TaskConfig,
    TextConfig,
    TrainConfig,
)
from affetto.learn.training.checkpoint import (
    LAST,
    NEXT,
    clear_parts,
    read_checkpoint,
    restore_last,
    save_last,
)
from affetto.learn.training.display import Display
from affetto.learn.training.loop import fit
from affetto.learn.training.media_cache import MediaCache

LARGEST = 500_000  # numbers in a state, 2 MB
KILLS_PER_RUN = 4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--writer", type=int, default=500)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)  # threads do not survive a fork
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({"writer": kill_writers(Path(folder) / "w", asked.writer, asked.seed)}), flush=True)
        print(json.dumps({"runs": kill_runs(Path(folder) / "r", asked.runs, asked.seed)}), flush=True)


def kill_writers(folder: Path, kills: int, seed: int = 0) -> dict[str, int]:
    """Kills, those that hit a save, states that could not be read or were not as written, and saves lost."""
    folder.mkdir()
    draw = random.Random(seed)
    found = Counter(kills=0, inside_a_save=0, unreadable=0, wrong=0, saves_lost=0)
    step = 0
    for _ in range(kills):
        child, told = fork(lambda say, start=step: write(folder, start, say))
        told.readline()
        time.sleep(draw.uniform(0.0, 0.05))
        saved = [step, *map(int, kill(child, told))][-1]
        found["kills"] += 1
        found["inside_a_save"] += any(folder.glob(".*.part")) or (folder / NEXT).exists()
        clear_parts(folder)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            state = restore_last(folder) or {"step": 0, "weights": torch.zeros(0)}
        step = state["step"]
        found["unreadable"] += len(caught)
        found["wrong"] += not torch.equal(state["weights"], weights(step))
        found["saves_lost"] += max(0, saved - step)
    return dict(found)


def write(folder: Path, step: int, say: Callable[[str], None]) -> None:
    """Save state after state, for ever."""
    while True:
        step += 1
        save_last(folder, {"step": step, "weights": weights(step)})
        say(str(step))


def weights(step: int) -> torch.Tensor:
    """What the state of a step holds: of another size each."""
    return torch.full((random.Random(step).randrange(1, LARGEST),), float(step))


def kill_runs(folder: Path, kills: int, seed: int = 0) -> dict[str, int]:
    """Kills and runs; losses and files that differ from the run that nobody killed; steps that were done again
    after a kill, at most (every step is saved, so one is what may be lost)."""
    folder.mkdir()
    draw = random.Random(seed)
    whole = losses(fork(lambda say: train(folder / "whole", say))[1])
    found = Counter(kills=0, runs=0, different_losses=0, different_files=0, most_steps_again=0)
    while found["kills"] < kills:
        path, log = folder / str(found["runs"]), dict[str, str]()
        count = min(KILLS_PER_RUN, kills - found["kills"])
        for stop in [*sorted(draw.sample(list(whole)[1:], count), key=list(whole).index), None]:
            child, told = fork(lambda say, path=path: train(path, say))
            said = losses(told, stop)
            if stop in said:
                time.sleep(draw.uniform(0.0, 0.05))
                found["kills"] += 1
            said |= losses(kill(child, told))
            found["most_steps_again"] = max(found["most_steps_again"], len(said.keys() & log.keys()))
            found["different_losses"] += sum(whole[name] != loss for name, loss in said.items())
            log |= said
        found["runs"] += 1
        found["different_losses"] += len(whole.keys() - log.keys())
        found["different_files"] += sum(
            a != b for a, b in zip(left(path), left(folder / "whole"), strict=True)
        )
    return dict(found)


def losses(lines: Iterable[str], stop: str | None = None) -> dict[str, str]:
    """Step to loss, as a run says them, up to a step."""
    said: dict[str, str] = {}
    for line in lines:
        step, loss = line.split()
        said[step] = loss
        if step == stop:
            break
    return said


def train(folder: Path, say: Callable[[str], None]) -> None:
    """A run of some 20 steps, or what is left of it; says each step and its loss."""
    config = experiment()
    clips = [clip for clip in corpus.make_clips() if clip.vision is None]
    texts = corpus.train_tokenizer([clip.text for clip in clips if clip.text], 300)
    cache = MediaCache(config.model, texts, decode_speech=corpus.decode_speech)
    fit(config, clips, folder, resume=True, cache=cache, display=Told(say), checkpoint_every=0.0)


class Told(Display):
    """Says every step as it is done."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self.say, self.name = say, ""

    def stage(self, name: str, total: int, done: int) -> None:
        self.name = name

    def step(self, step: int, loss: float) -> None:
        self.say(f"{self.name}-{step} {loss.hex()}")


def experiment() -> ExperimentConfig:
    """Two stages in which much is drawn: dropout, SpecAugment, augmented sound, mixed clips."""
    model = ModelConfig(
        dim=8,
        speech=SpeechConfig(n_mels=16, channels=(8, 8), width=8, layers=1),
        text=TextConfig(name="words", vocab_size=300, max_tokens=8, width=8),
        fusion=FusionConfig(tokens=1, layers=1, heads=2),
        tasks=(TaskConfig("emotion", labels=corpus.EMOTIONS),),
    )
    stages = (
        StageConfig("speech", ("speech",), epochs=3, batch_size=8, mixup=0.2, ema=0.9, patience=2),
        StageConfig("both", ("speech", "text"), steps=10, batch_size=8, track_mixup=0.4, validate_every=4),
    )
    data = DataConfig(augment=AugmentConfig(crop_seconds=(0.3, 0.5)), allow_leaks=("sentence_leak",))
    return ExperimentConfig("survival", seed=3, data=data, model=model, train=TrainConfig(stages, devices=0))


def left(folder: Path) -> list[bytes]:
    """What a finished run left: weights of the last checkpoint, metrics, answers."""
    state = read_checkpoint(folder / "checkpoints" / LAST)["recogniser"]
    values = b"".join(value.numpy().tobytes() for value in state.values())
    files = ("metrics.jsonl", "predictions/validation.npz", "config.yaml", "tokenizer.json")
    return [values, *((folder / name).read_bytes() for name in files)]


def fork(work: Callable[[Callable[[str], None]], None]) -> tuple[int, TextIO]:
    """Do the work in a process of its own. Returns its id, and what it says, a line each."""
    told, saying = os.pipe()
    child = os.fork()
    if child:
        os.close(saying)
        return child, os.fdopen(told)
    try:
        os.close(told)
        with os.fdopen(saying, "w", buffering=1) as say:
            work(lambda said: print(said, file=say))
    except BaseException:
        traceback.print_exc()
    os._exit(0)


def kill(child: int, told: TextIO) -> list[str]:
    """End a process as the power cord would, if it has not ended. Returns what else it had said."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with told:
        return told.readlines()


if __name__ == "__main__":
    main()
