"""Sharing between tasks, and adversaries, on utterance vectors of real speech: figures of docs/multitask.md.

    python benchmarks/multitask.py --data DIR -o runs/multitask

Each clip of RAVDESS, EmoDB and nEMO becomes one vector: mean and deviation over time of 80 log-mel bands and
20 MFCC, and of the pitch and voicing of its middle second. A small recogniser made of the package's own parts
reads it: one layer, a trunk of two, linear heads. So the figures compare forms of sharing with each other; they
are no measure of what a model of sound reaches. Every run is a line of `results.jsonl` and never repeated: the
command can be stopped and given again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from affetto.data.corpora import read_corpus
from affetto.evaluation.metrics import equal_error_rate, uar, verification_trials
from affetto.features.prosody import pitch
from affetto.features.spectral import log_mel, mfcc
from affetto.labels import EMOTIONS
from affetto.learn.config import TaskConfig
from affetto.learn.decoders import HEADS, SHARINGS
from affetto.learn.decoders.heads import AdversarialHead
from affetto.learn.fusion import VOTES, Views
from affetto.learn.models.build import resolve
from affetto.learn.models.recogniser import VOTE, Recogniser
from affetto.learn.training.objectives import task_losses
from affetto.learn.training.optimisation import learning_rate, parameter_groups
from affetto.learn.training.targets import person, targets_of, with_people
from affetto.learn.training.task_weights import FixedWeights
from affetto.media import SAMPLE_RATE, decode_audio
from affetto.records import Batch, Clip, Track

CORPORA = ("ravdess", "emodb", "nemo")
FORMS = ("hard", "cross-stitch", "tied", "experts")
PAIRS = ("emotion+gender", "emotion+intensity", "emotion+speaker")
ADVERSARIAL = "emotion+gender+no speaker"
SEEDS = 5
#: Student's t for a 95 % interval of the mean of five.
_T = 2.776

DIM, LAYERS, DROPOUT, EPOCHS, ROWS, RATE = 64, 2, 0.3, 15, 256, 4e-3
_LOUDNESS = 0.05  # root mean square that every clip is brought to

TASKS = {
    "emotion": TaskConfig("emotion", labels=EMOTIONS),
    "gender": TaskConfig("gender", labels=("female", "male"), weight=0.5),
    "intensity": TaskConfig("intensity", labels=("normal", "strong"), weight=0.5),
    "speaker": TaskConfig("speaker", "identity", weight=0.5),
    "no speaker": TaskConfig("no speaker", "identity", weight=0.2, adversarial=0.1),
}

SPEECH = "speech"


@dataclass(frozen=True)
class Run:
    """One training: which tasks, how they share, who is held out ("people" or a corpus), which seed."""

    tasks: str
    form: str
    held: str
    seed: int


class Alone(nn.Module):
    """The fusion of one modality that is a vector already: its view is the vector."""

    views = (SPEECH,)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks of one step."""
        track = tracks[SPEECH]
        return Views({SPEECH: track.values[:, 0]}, {SPEECH: track}, {SPEECH: track.mask[:, 0]})


class Project(nn.Module):
    """The encoder of utterance vectors: one layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(width, DIM), nn.GELU(), nn.Dropout(DROPOUT))

    def forward(self, track: Track) -> Track:
        """[B 1 width] -> [B 1 D]."""
        return replace(track, values=self.layer(track.values))


def utterance_vector(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N] -> [D]: statistics over time, of the clip at one loudness."""
    waveform = waveform * np.float32(_LOUDNESS / max(float(np.sqrt(np.square(waveform).mean())), 1e-6))
    middle = max(0, (len(waveform) - SAMPLE_RATE) // 2)
    f0, voicing, _ = pitch(
        waveform[middle : middle + SAMPLE_RATE]
    )  # most of the cost; a second tells the voice
    tones = np.log(f0[f0 > 0]) if (f0 > 0).any() else np.zeros(1, np.float32)
    tracks = [
        log_mel(waveform, n_mels=80),
        mfcc(waveform, n_mfcc=20, deltas=False),
        voicing[:, None],
        tones[:, None],
    ]
    values = [statistic(track, axis=0) for track in tracks for statistic in (np.mean, np.std)]
    return np.concatenate([*values, np.quantile(tones, [0.1, 0.9])]).astype(np.float32)


def vectors(clips: Sequence[Clip], path: Path) -> NDArray[np.float32]:
    """The clips' vectors [N D], computed once."""
    if not path.is_file():
        rows = [utterance_vector(decode_audio(str(clip.speech))) for clip in clips]
        np.save(path, np.stack(rows))
    return np.load(path)


def held_out(clips: Sequence[Clip], held: str, seed: int) -> NDArray[np.bool_]:
    """[N] bool: the clips of a corpus, or of a quarter (at least two) of the speakers of each."""
    if held in CORPORA:
        return np.array([clip.corpus == held for clip in clips])
    rng = np.random.default_rng(seed)
    chosen: set[str | None] = set()
    for corpus in CORPORA:
        people = sorted({str(person(clip)) for clip in clips if clip.corpus == corpus})
        chosen.update(people[i] for i in rng.permutation(len(people))[: max(2, len(people) // 4)])
    return np.array([person(clip) in chosen for clip in clips])


def build(tasks: Sequence[TaskConfig], form: str, width: int) -> Recogniser:
    """The recogniser of a run, of the package's parts."""
    heads = {task.name: resolve(HEADS, task.head, "head")(DIM, len(task.labels)) for task in tasks}
    for task in tasks:
        if task.adversarial:
            heads[task.name] = AdversarialHead(heads[task.name], task.adversarial)
    names = [task.name for task in tasks]
    shared = resolve(SHARINGS, form, "form")(names, DIM, layers=LAYERS, dropout=DROPOUT)
    return Recogniser(
        {SPEECH: Project(width)},
        Alone(),
        {name: {SPEECH: head} for name, head in heads.items()},
        {name: resolve(VOTES, "mean", "vote")((SPEECH,), "single-label") for name in names},
        sharing={SPEECH: shared},
        private=[task.name for task in tasks if task.private],
    )


def train(
    model: Recogniser, x: Tensor, clips: Sequence[Clip], tasks: Sequence[TaskConfig], seed: int
) -> None:
    """Fit the model to the vectors [N D] of clips."""
    targets = {task.name: [torch.from_numpy(part) for part in targets_of(clips, task)] for task in tasks}
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.05), lr=RATE, fused=True)
    weigh, order = FixedWeights(tasks), torch.Generator().manual_seed(seed)
    total, step = EPOCHS * (len(x) // ROWS), 0
    model.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x), generator=order)[: len(x) // ROWS * ROWS].view(-1, ROWS):
            optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = learning_rate(
                step, total, RATE, 0.1
            )
            model.set_progress(step / total)
            output = model({SPEECH: as_track(x[rows])})
            batch = Batch(
                {},
                {n: t[rows] for n, (t, _) in targets.items()},
                {n: m[rows] for n, (_, m) in targets.items()},
            )
            losses = task_losses(output, batch, tasks, modalities=(SPEECH,), all_modalities=(SPEECH,))
            loss = weigh(losses, []) + model.penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1


def as_track(x: Tensor) -> Track:
    """Vectors [B D] as Tracks of one step."""
    return Track(x[:, None], torch.ones(len(x), 1, dtype=torch.bool))


def scores(
    model: Recogniser, x: Tensor, clips: Sequence[Clip], tasks: Sequence[TaskConfig]
) -> dict[str, float]:
    """UAR of every task that answers, of emotion also by corpus; EER of people, from embeddings."""
    with torch.inference_mode():
        output = model.eval()({SPEECH: as_track(x)})
    corpora = np.array([clip.corpus for clip in clips])
    people = [person(clip) for clip in clips]
    trials = verification_trials(output.embeddings[SPEECH].numpy(), people, list(corpora))
    found = {"eer": equal_error_rate(*trials)}
    for task in tasks:
        if task.private:
            continue
        targets, mask = targets_of(clips, task)
        truth, said = targets.argmax(axis=1), output.logits[task.name][VOTE].argmax(dim=1).numpy()
        if mask.any():
            found[task.name] = uar(truth[mask], said[mask])
        if task.name == "emotion":
            found.update({name: uar(truth[corpora == name], said[corpora == name]) for name in set(corpora)})
    return found


def perform(run: Run, x: NDArray[np.float32], clips: Sequence[Clip]) -> dict[str, float]:
    """Train and test one run."""
    test = held_out(clips, run.held, run.seed)
    mean, deviation = x[~test].mean(axis=0), x[~test].std(axis=0) + 1e-6
    standard = torch.from_numpy((x - mean) / deviation).clamp(-5.0, 5.0)
    taught = [clip for clip, out in zip(clips, test, strict=True) if not out]
    tasks = with_people([TASKS[name] for name in run.tasks.split("+")], taught)
    torch.manual_seed(run.seed)
    model = build(tasks, run.form, x.shape[1])
    train(model, standard[torch.from_numpy(~test)], taught, tasks, run.seed)
    asked = [clip for clip, out in zip(clips, test, strict=True) if out]
    return scores(model, standard[torch.from_numpy(test)], asked, tasks)


def all_runs() -> list[Run]:
    """Seed by seed, so that what is there after a while can already be compared."""
    plans = [(name, "hard", "people") for name in ("emotion", "gender", "intensity", "speaker", ADVERSARIAL)]
    plans += [(pair, form, "people") for pair in PAIRS for form in FORMS]
    plans += [(name, "hard", corpus) for corpus in CORPORA for name in ("emotion", ADVERSARIAL)]
    return [Run(*plan, seed) for seed in range(SEEDS) for plan in plans]


def mean_and_interval(values: Sequence[float]) -> str:
    """Mean and half of the 95 % interval of the mean over the seeds."""
    half = _T * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return f"{np.mean(values):+.3f} +- {half:.3f}"


def table(results: Mapping[Run, Mapping[str, float]]) -> str:
    """What docs/multitask.md shows: scores, and differences from the task alone with the same seed."""
    by_plan: dict[tuple[str, str, str], list[Mapping[str, float]]] = defaultdict(list)
    for run in sorted(results, key=lambda run: run.seed):
        by_plan[run.tasks, run.form, run.held].append(results[run])

    def column(tasks: str, form: str, held: str, score: str) -> NDArray[np.float64]:
        return np.array([found[score] for found in by_plan[tasks, form, held]])

    lines = [
        "| tasks | sharing | emotion | against alone | other task | against alone |",
        "|---|---|---|---|---|---|",
    ]
    for pair in PAIRS:
        other = pair.partition("+")[2]
        score = "eer" if other == "speaker" else other
        alone = {
            name: column(name, "hard", "people", s) for name, s in (("emotion", "emotion"), (other, score))
        }
        for form in FORMS:
            first, second = (column(pair, form, "people", name) for name in ("emotion", score))
            gains = mean_and_interval(first - alone["emotion"]), mean_and_interval(second - alone[other])
            lines.append(
                f"| {pair} | {form} | {first.mean():.3f} | {gains[0]} | {score} {second.mean():.3f} | {gains[1]} |"
            )
    lines += [
        "",
        "| tested on | emotion alone | with gender and adversary | difference |",
        "|---|---|---|---|",
    ]
    for held, score in [("people", name) for name in ("emotion", *CORPORA, "eer")] + [
        (c, c) for c in CORPORA
    ]:
        alone, helped = (column(name, "hard", held, score) for name in ("emotion", ADVERSARIAL))
        where = f"unseen people, {score}" if held == "people" else f"{held}, left out"
        lines.append(
            f"| {where} | {alone.mean():.3f} | {helped.mean():.3f} | {mean_and_interval(helped - alone)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of ravdess, emodb and nemo")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    clips = [clip for name in CORPORA for clip in read_corpus(name, options.data / name).clips]
    x = vectors(clips, options.out / "vectors.npy")
    stored = options.out / "results.jsonl"
    lines = stored.read_text(encoding="utf-8").splitlines() if stored.is_file() else []
    results = {Run(**record["run"]): record["scores"] for record in map(json.loads, lines)}
    for run in all_runs():
        if run not in results:
            began = time.process_time()
            results[run] = perform(run, x, clips)
            record = {"run": vars(run), "scores": results[run], "cpu_seconds": time.process_time() - began}
            with stored.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
