"""One run: a variant trained with a seed, and its answers to the test clips from every subset of modalities.

A comparison's folder holds `clips.json` (who is tested), `results.jsonl` (one line per finished run) and
`runs/` (what each run leaves). A run whose line is there is never run again; one that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from affetto.data.manifest import Corpus
from affetto.errors import ConfigError, DataError, TrainingError
from affetto.files import write_whole
from affetto.learn.compare.grid import Variant, media_of
from affetto.learn.config import DataConfig, ExperimentConfig, TaskConfig, to_yaml
from affetto.learn.models.recogniser import VOTE
from affetto.learn.training.corpora import load_corpora, split_clips
from affetto.learn.training.display import Display
from affetto.learn.training.loaders import make_loader
from affetto.learn.training.loop import FitResult, Start, fit
from affetto.learn.training.media_cache import MediaCache
from affetto.learn.training.objectives import task_losses
from affetto.learn.training.pairing import only_evidence
from affetto.learn.training.planning import StagePlan
from affetto.learn.training.run_folder import locked
from affetto.learn.training.targets import single_label
from affetto.learn.training.validation import predict_logits
from affetto.records import Clip

RESULTS, CLIPS, RUNS = "results.jsonl", "clips.json", "runs"
#: In answers, a clip that has none of the modalities asked.
SILENT = -1
_TIMED_STEPS = 15
_BATCH = 128


@dataclass(frozen=True)
class Result:
    """A finished run. answers: subset of modalities ("speech+text") to the class [N] of every test clip.

    `key` names the whole config with its seed; `step_ms` is the median time of a training step; `validation` the
    UAR on the clips that validated, None where there were none.
    """

    key: str
    variant: str
    alone: str | None
    seed: int
    answers: Mapping[str, Sequence[int]]
    parameters: int
    step_ms: float
    seconds: float
    validation: float | None = None


@dataclass(frozen=True)
class Tested:
    """The test clips: ids, true classes [N] as places among `labels`, and who speaks (None: nobody knows)."""

    task: str
    labels: tuple[str, ...]
    ids: tuple[str, ...]
    truth: tuple[int, ...]
    people: tuple[str | None, ...]


@dataclass(frozen=True)
class Comparison:
    """All finished runs of a comparison, the variants in their order, and the clips they were tested on."""

    variants: tuple[Variant, ...]
    results: tuple[Result, ...]
    tested: Tested


def compare(
    variants: Sequence[Variant],
    seeds: int,
    folder: str | Path,
    *,
    start: Start | None = None,
    display: Display | None = None,
) -> Comparison:
    """Train what is not there yet, every variant with seeds 0 to `seeds` - 1, and give all results.

    Each finished run is kept at once. The seed draws the validation clips too; test clips are the same for
    all. Ctrl-C stops after saving; called again, it goes on.

    Raises what `fit` raises; TrainingError `run_exists` where the folder holds a comparison on other clips,
    or another process works in it; ConfigError `config_invalid` without a task of one label; DataError
    `nothing_to_predict` without labelled test clips.
    """
    folder, display = Path(folder), display or Display()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        runner = _Runner(folder, start)
        grid = [(variant, seed) for seed, variant in itertools.product(range(seeds), variants)]
        keys = [run_key(variant.config, seed) for variant, seed in grid]
        done = {result.key: result for result in read_results(folder)}
        todo = [pair for key, pair in zip(keys, grid, strict=True) if key not in done]
        tested = runner.tested(variants[0].config)
        if len(todo) < len(grid):
            display.note(f"{len(grid) - len(todo)} of {len(grid)} runs are there already")
        for variant, seed in display.wrap(todo, "runs"):
            result = runner.run(variant, seed)
            done[result.key] = result
            _keep(folder, [*done.values()])
            everything = next(iter(result.answers.values()))
            right = np.mean(np.equal(everything, tested.truth))
            display.note(f"{variant.name}, seed {seed}: accuracy {right:.3f} ({result.seconds:.0f} s)")
    named = [
        replace(done[key], variant=variant.name, alone=variant.alone)
        for key, (variant, _) in zip(keys, grid, strict=True)
    ]
    return Comparison(tuple(variants), tuple(named), tested)


def read_results(folder: Path) -> list[Result]:
    """The finished runs of a folder. Raises TrainingError `run_exists` for a line that is none."""
    path = folder / RESULTS
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [Result(**json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        raise TrainingError("run_exists", f"{path} holds no results of `affetto compare`: {error}") from None


def run_key(config: ExperimentConfig, seed: int) -> str:
    """The name of a run: a hash of everything that it depends on but its name."""
    text = to_yaml(replace(config, name="", seed=seed))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Runner:
    """Runs one after the other; corpora are read once, media are decoded once."""

    def __init__(self, folder: Path, start: Start | None) -> None:
        self._folder, self._start = folder, start
        self._corpora: dict[str, list[Corpus]] = {}
        self._caches: list[_Shared] = []

    def tested(self, config: ExperimentConfig) -> Tested:
        """The test clips, which the folder remembers."""
        task = compared_task(config)
        clips = _labelled(self._clips(config), task)
        if not clips:
            raise DataError(
                "nothing_to_predict",
                f"no test clip has one {task.name} out of {', '.join(task.labels)}: set data.folds and "
                "data.fold, data.hold_out, or data.reserved",
            )
        found = Tested(
            task.name,
            task.labels,
            tuple(f"{clip.corpus}/{clip.id}" for clip in clips),
            tuple(task.labels.index(str(single_label(clip, task))) for clip in clips),
            tuple(None if clip.speaker is None else f"{clip.corpus}/{clip.speaker}" for clip in clips),
        )
        path, text = self._folder / CLIPS, json.dumps(asdict(found)) + "\n"
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise TrainingError(
                "run_exists", f"{self._folder} holds a comparison on other test clips; choose another -o"
            )
        write_whole(path, text.encode())
        return found

    def run(self, variant: Variant, seed: int) -> Result:
        """Train and test one; all that it leaves but its checkpoints stays in the folder."""
        began = time.perf_counter()
        config = replace(variant.config, seed=seed)
        key = run_key(variant.config, seed)
        clips = self._clips(config)
        folder = self._folder / RUNS / key
        cache = self._shared(config)
        result = fit(config, clips, folder, resume=True, start=self._start, cache=cache)
        if cache is None:
            self._share(config, result.cache)
        tested = _labelled(clips, compared_task(config))
        unreadable = result.cache.add(tested)
        readable = [clip for clip in tested if (clip.corpus, clip.id) not in unreadable]
        answers = _answers(result, tested, readable)
        step = _step_milliseconds(result, clips)
        parameters = sum(parameter.numel() for parameter in result.recogniser.parameters())
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        seconds = time.perf_counter() - began
        validation = result.scores.get(f"{compared_task(config).name}.{VOTE}.uar")
        return Result(key, variant.name, variant.alone, seed, answers, parameters, step, seconds, validation)

    def _clips(self, config: ExperimentConfig) -> list[Clip]:
        place = repr((config.data.root, config.data.corpora))
        if place not in self._corpora:
            self._corpora[place] = load_corpora(config.data)
        clips = [clip for corpus in self._corpora[place] for clip in corpus.clips]
        return split_clips(clips, config.data, config.seed)

    def _shared(self, config: ExperimentConfig) -> MediaCache | None:
        """The media that an earlier run decoded, where they are what this one reads."""
        # A vocabulary is made of the training texts, and those change with the seed.
        self._caches = [shared for shared in self._caches if shared.seed in (None, config.seed)]
        wanted = media_of(config.model)
        for shared in self._caches:
            if shared.data == config.data and wanted.items() <= shared.media.items():
                return shared.cache.narrowed(config.model.modalities)
        return None

    def _share(self, config: ExperimentConfig, cache: MediaCache) -> None:
        seed = None if cache.tokenizer is None else config.seed
        self._caches.append(_Shared(config.data, media_of(config.model), seed, cache))


@dataclass(frozen=True)
class _Shared:
    """Decoded media: of which data, how decoded, and the seed that its vocabulary depends on, if any."""

    data: DataConfig
    media: Mapping[str, object]
    seed: int | None
    cache: MediaCache


def compared_task(config: ExperimentConfig) -> TaskConfig:
    """The first task with one label per clip. Raises ConfigError `config_invalid` when there is none."""
    task = next((task for task in config.model.tasks if task.kind == "single-label"), None)
    if task is None:
        raise ConfigError("config_invalid", "model.tasks: a comparison needs a task of kind single-label")
    return task


def _labelled(clips: Sequence[Clip], task: TaskConfig) -> list[Clip]:
    """Test clips with one clear class of the task, and something to judge."""
    return [
        clip
        for clip in clips
        if clip.split == "test" and clip.modalities() and single_label(clip, task) in task.labels
    ]


def _answers(result: FitResult, tested: Sequence[Clip], readable: Sequence[Clip]) -> dict[str, list[int]]:
    """Subset of the model's modalities to the class [N] of every test clip, from that subset alone."""
    task = compared_task(result.config)
    readable_ids = {(clip.corpus, clip.id) for clip in readable}
    answers = {}
    for subset in subsets(result.config.model.modalities):
        reduced = [only_evidence(clip, subset) for clip in tested]
        rows = [
            row
            for row, clip in enumerate(reduced)
            if clip.modalities() and (clip.corpus, clip.id) in readable_ids
        ]
        said = [SILENT] * len(tested)
        if rows:
            asked = [reduced[row] for row in rows]
            logits = predict_logits(result.recogniser, asked, result.cache, batch_size=_BATCH)
            for row, values in zip(rows, logits.logits[task.name][VOTE], strict=True):
                said[row] = int(np.argmax(values))
        answers["+".join(subset)] = said
    return answers


def subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Every subset but the empty one, larger ones first."""
    sizes = range(len(modalities), 0, -1)
    return [subset for size in sizes for subset in itertools.combinations(modalities, size)]


def _step_milliseconds(result: FitResult, clips: Sequence[Clip]) -> float:
    """Median time of forward and backward on one batch of the last stage; the weights stay as they are."""
    config, model = result.config, result.recogniser
    stage = config.train.stages[-1]
    usable = [clip for clip in clips if (clip.corpus, clip.id) not in result.unreadable]
    plan = StagePlan(config, stage, usable, result.cache)
    batch = next(iter(make_loader(plan.builder(), plan.batches(0)[:1])))
    model.train()
    times = []
    with torch.random.fork_rng():
        for _ in range(_TIMED_STEPS):
            began = time.perf_counter()
            losses = task_losses(
                model(batch.inputs),
                batch,
                config.model.tasks,
                modalities=stage.modalities,
                all_modalities=config.model.modalities,
            )
            torch.stack(list(losses.values())).sum().backward()
            model.zero_grad()
            times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def _keep(folder: Path, results: Sequence[Result]) -> None:
    lines = "".join(json.dumps(asdict(result)) + "\n" for result in results)
    write_whole(folder / RESULTS, lines.encode())
