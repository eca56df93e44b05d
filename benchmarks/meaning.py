"""Digits heard, seen and written: how well each finds the others, by loss.

    python benchmarks/meaning.py digits --data DIR -o meaning.jsonl [--losses "symmetric;sigmoid"] [--pairs 15]
    python benchmarks/meaning.py teacher --data DIR -o meaning.jsonl [--pairs 3] [--seeds 1]
    python benchmarks/meaning.py cache --rows 4096 --chunk 128
    python benchmarks/meaning.py show -o meaning.jsonl

digits: two of the six speakers of FSDD are held out, in turn all 15 pairs; every clip of theirs (500) is a query
for a gallery of 1,000 pictures of MNIST that training never saw, 100 of each digit. All 100 are right; ties are
broken by chance. The other direction has the 1,000 pictures as queries and the 500 clips as the gallery, 50 of
them right. Prompts are the ten words, each in the templates of the experiment.

The towers are those of the experiment `digits`. To train many of them on a CPU, what stays the same is worked
out once: clips are kept as log-mel, and tempo, vocal tract and noise are varied there. Every training is one
line of the output, and is not repeated: an interrupted run goes on. --steps and --rows (of a batch) shorten it.

teacher: a tenth of the spoken digits is paired with pictures. From scratch, all towers learn from these pairs
alone. The teacher learns words and pictures without any speech; its towers are kept, and the student learns
speech from the same tenth: with the contrastive loss alone, or with the teacher's view of the pictures too.

cache: time and memory of a step of 4,096 clips with the gradient cache, against plain steps for as many clips.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from affetto.data.corpora.digits import WORDS, read
from affetto.evaluation.retrieval import recall_at
from affetto.features.spectral import FLOOR, HOP, RATE
from affetto.features.text import encode, train_tokenizer
from affetto.learn.config import ContrastiveConfig, ModelConfig, TaskConfig
from affetto.learn.encoders.frontend import LogMel
from affetto.learn.experiments.digits import TEMPLATES, digits
from affetto.learn.models.build import build_recogniser
from affetto.learn.models.recogniser import Recogniser
from affetto.learn.training.contrast import contrastive, forward_in_chunks, invariance, towers_of
from affetto.learn.training.objectives import task_losses
from affetto.learn.training.optimisation import (
    AveragedWeights,
    freeze,
    learning_rate,
    parameter_groups,
    set_training_mode,
)
from affetto.media import decode_audio, decode_image
from affetto.records import Batch, Clip, Track

#: The rows of the table: what the objective is told, and what differs in the model.
LOSSES: Mapping[str, ContrastiveConfig] = {
    "symmetric": ContrastiveConfig(),
    "alternating": ContrastiveConfig(loss="alternating"),
    "nt_xent": ContrastiveConfig(loss="nt_xent"),
    "sigmoid": ContrastiveConfig(loss="sigmoid"),
    "supervised": ContrastiveConfig(loss="supervised"),
    "symmetric, one positive": ContrastiveConfig(positives="item"),
    "symmetric + invariance": ContrastiveConfig(invariance=0.3),
    "distance + KL, shared trunk": ContrastiveConfig(loss="distance"),
}
ALL = ("speech", "text", "vision")
STEPS, ROWS, RATE_PEAK, DECAY, EMA = 1000, 64, 4e-3, 0.01, 0.98
GALLERY_EACH, SHARE = 100, 0.1
FRAMES, NOISY = (28, 68), 0.6  # of a clip in training; the share of clips in noise
ROUNDS = 5
LONGEST = round(0.9 * RATE / HOP)  # frames of a clip that are read


@dataclass(frozen=True)
class Digits:
    """Everything decoded once: log-mel [F T] of spoken digits, pictures [S S], words in templates as ids."""

    mels: list[Tensor]
    spoken: Tensor  # digit of each clip
    speakers: np.ndarray
    pictures: Tensor  # [N 1 S S] in [0, 1]
    drawn: Tensor
    test: Tensor  # which pictures training never sees
    words: Tensor  # [10 templates T] ids
    word_mask: Tensor


class Given(nn.Module):
    """In the place of the speech front end: log-mel [B T F] comes in as values, and is normalised and masked."""

    def __init__(self, front_end: Any) -> None:
        super().__init__()
        self.n_mels, self.receptive_field = front_end.n_mels, front_end.receptive_field
        self.normalise, self.augment = front_end.normalise, front_end.augment

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.augment(self.normalise(values.transpose(1, 2), mask), mask), mask


def load(data: Path) -> Digits:
    """Read and decode the corpus once; kept beside nothing, it takes some seconds."""
    clips = read(data).clips
    spoken = [clip for clip in clips if clip.speech]
    drawn = [clip for clip in clips if clip.vision]
    config = digits().model
    log_mel = LogMel(config.speech.n_mels)
    mels = []
    for clip in spoken:
        samples = torch.from_numpy(decode_audio(clip.speech))[None]
        mels.append(log_mel(samples, torch.ones_like(samples, dtype=torch.bool))[0][0])
    size = config.vision.size
    pictures = (
        torch.stack([torch.from_numpy(decode_image(c.vision)[:, :, 0].copy()) for c in drawn]).float() / 255
    )
    pictures = functional.interpolate(pictures[:, None], size=(size, size), mode="bilinear")
    tokenizer = train_tokenizer([t.format(word) for t in TEMPLATES for word in WORDS], config.text.vocab_size)
    ids = [[encode(tokenizer, t.format(word), config.text.max_tokens) for t in TEMPLATES] for word in WORDS]
    words = torch.zeros(
        len(WORDS), len(TEMPLATES), max(len(x) for row in ids for x in row), dtype=torch.int64
    )
    mask = torch.zeros_like(words, dtype=torch.bool)
    for i, row in enumerate(ids):
        for j, x in enumerate(row):
            words[i, j, : len(x)], mask[i, j, : len(x)] = torch.from_numpy(x), True
    return Digits(
        mels, _digits(spoken), np.array([clip.speaker for clip in spoken]), pictures, _digits(drawn),
        torch.tensor([clip.split == "test" for clip in drawn]), words, mask,
    )  # fmt: skip


def model_config(loss: ContrastiveConfig) -> ModelConfig:
    """The experiment's model; with heads that teach and a shared trunk where the loss wants them."""
    config = digits().model
    if loss.loss == "distance":
        task = replace(config.tasks[0], head="linear")
        return replace(config, fusion=replace(config.fusion, trunk=True), tasks=(task,))
    return config


def build(config: ModelConfig) -> Recogniser:
    recogniser = build_recogniser(config)
    speech = recogniser.encoders["speech"]
    speech.front_end = Given(speech.front_end)
    return recogniser


# --- batches ---


def heard_track(data: Digits, rows: Tensor) -> Track:
    """Log-mel of some clips [B T F] as they are."""
    kept = [data.mels[i][:, :LONGEST].T for i in rows.tolist()]
    values = nn.utils.rnn.pad_sequence(kept, batch_first=True)
    mask = torch.arange(values.shape[1])[None] < torch.tensor([len(mel) for mel in kept])[:, None]
    return Track(values, mask)


def augmented_track(data: Digits, rows: Tensor) -> Track:
    """Log-mel of some clips [B T F], most of them in noise, all stretched to one length.

    The length is drawn anew for each batch: any digit comes at any speed, and no time is spent on padding.
    """
    frames = int(torch.randint(*FRAMES, ()))
    stretched = [
        functional.interpolate(data.mels[i][None, :, :LONGEST], size=frames, mode="linear") for i in rows
    ]
    mels = torch.cat(stretched).transpose(1, 2)
    noisy = torch.rand(len(rows), 1, 1) < NOISY
    return Track(torch.where(noisy, in_noise(mels), mels), torch.ones(mels.shape[:2], dtype=torch.bool))


def in_noise(mels: Tensor) -> Tensor:
    """Log-mel [B T F] with steady noise of random slopes, 0 to 40 dB under the mean power."""
    power = (mels.exp() - FLOOR).clamp(min=0)
    tilt = torch.linspace(-2, 2, mels.shape[2]) * (2 * torch.rand(len(mels), 1, 1) - 1)
    noise = tilt.exp() * torch.empty_like(mels).exponential_()
    level = power.mean((1, 2), keepdim=True) / noise.mean((1, 2), keepdim=True)
    return (power + level * 10 ** (-4 * torch.rand(len(mels), 1, 1)) * noise + FLOOR).log()


def vision_track(data: Digits, rows: Tensor, augmented: bool) -> Track:
    """Pictures [B 1 3 S S], in training turned, sized and moved a little."""
    pictures = data.pictures[rows]
    if augmented:
        count = len(rows)
        angle, scale = 0.25 * (2 * torch.rand(count) - 1), 1 + 0.15 * (2 * torch.rand(count) - 1)
        shift = 0.15 * (2 * torch.rand(count, 2) - 1)
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
        grid = functional.affine_grid(
            torch.cat([scale[:, None, None] * turn, shift[:, :, None]], 2),
            list(pictures.shape),
            align_corners=False,
        )
        pictures = functional.grid_sample(pictures, grid, align_corners=False)
    return Track(pictures[:, None].expand(-1, -1, 3, -1, -1), torch.ones(len(rows), 1, dtype=torch.bool))


def text_track(data: Digits, classes: Tensor) -> Track:
    """Each digit's word in a random template."""
    which = torch.randint(len(TEMPLATES), classes.shape)
    return Track(data.words[classes, which], data.word_mask[classes, which])


@dataclass(frozen=True)
class Pool:
    """What a training draws from: clips and pictures by number."""

    clips: Tensor
    pictures: Tensor


def draw(data: Digits, pool: Pool, modalities: Sequence[str], rows: int) -> Batch:
    """Rows with a digit each, a clip, a word and a picture of it: every digit as often as every other."""
    classes = torch.arange(rows) % len(WORDS)
    inputs = {}
    if "speech" in modalities:
        inputs["speech"] = augmented_track(data, _of_each(pool.clips, data.spoken, classes))
    if "text" in modalities:
        inputs["text"] = text_track(data, classes)
    if "vision" in modalities:
        inputs["vision"] = vision_track(data, _of_each(pool.pictures, data.drawn, classes), True)
    return Batch(
        inputs,
        {"digit": functional.one_hot(classes, len(WORDS)).float()},
        {"digit": torch.ones(rows, dtype=torch.bool)},
    )


def _of_each(pool: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    by_digit = [pool[labels[pool] == digit] for digit in range(len(WORDS))]
    return torch.stack([own[torch.randint(len(own), ())] for own in (by_digit[c] for c in classes.tolist())])


# --- training ---


@dataclass(frozen=True)
class Length:
    """How long a training is: its steps, and the rows of a batch."""

    steps: int = STEPS
    rows: int = ROWS


def train(
    data: Digits,
    recogniser: Recogniser,
    tasks: Sequence[TaskConfig],
    pool: Pool,
    loss: ContrastiveConfig,
    modalities: Sequence[str],
    length: Length,
    *,
    frozen: Sequence[str] = (),
) -> None:
    """As a stage of the training loop does it: AdamW, a warm cosine, averaged weights."""
    freeze(recogniser, frozen)
    optimizer = torch.optim.AdamW(parameter_groups(recogniser, DECAY))
    averaged, towers = AveragedWeights(recogniser, EMA), towers_of(recogniser)
    for step in range(length.steps):
        set_training_mode(recogniser, frozen)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, length.steps, RATE_PEAK, 0.1)
        batch = draw(data, pool, modalities, length.rows)
        output = recogniser(batch.inputs)
        total = contrastive(output, batch, loss, towers, task="digit", modalities=modalities, step=step)
        total = total + sum(
            task_losses(output, batch, tasks, modalities=modalities, all_modalities=ALL).values()
        )
        if loss.invariance:
            again = recogniser(batch.inputs)
            total = total + loss.invariance * invariance(output, again, towers, modalities)
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
        optimizer.step()
        averaged.update(recogniser)
    averaged.copy_to(recogniser)
    freeze(recogniser, ())


# --- figures ---


@torch.inference_mode()
def figures(data: Digits, recogniser: Recogniser, held_out: Sequence[str]) -> dict[str, float]:
    """R@1 both ways and the share of right classes by prompt, on people and pictures that were held out."""
    recogniser.eval()
    queries = torch.from_numpy(np.flatnonzero(np.isin(data.speakers, held_out)))
    gallery = torch.cat([
        torch.nonzero(data.test & (data.drawn == digit)).flatten()[:GALLERY_EACH] for digit in range(len(WORDS))
    ])  # fmt: skip
    heard = _embedded(recogniser, "speech", [heard_track(data, part) for part in queries.split(100)])
    seen = _embedded(recogniser, "vision", [vision_track(data, part, False) for part in gallery.split(200)])
    flat = Track(data.words.flatten(0, 1), data.word_mask.flatten(0, 1))
    words = _embedded(recogniser, "text", [flat]).view(len(WORDS), len(TEMPLATES), -1).mean(dim=1)
    words = functional.normalize(words, dim=1)
    spoken, drawn = data.spoken[queries], data.drawn[gallery]
    alike = (spoken[:, None] == drawn[None]).numpy()
    return {
        "speech to image": recall_at((heard @ seen.T).numpy(), alike, 1),
        "image to speech": recall_at((seen @ heard.T).numpy(), alike.T, 1),
        "prompt from speech": _right(heard @ words.T, spoken),
        "prompt from image": _right(seen @ words.T, drawn),
    }


def _embedded(recogniser: Recogniser, name: str, parts: Sequence[Track]) -> Tensor:
    return torch.cat([recogniser({name: part}).embeddings[name] for part in parts])


def _right(scores: Tensor, truth: Tensor) -> float:
    return float((scores.argmax(dim=1) == truth).float().mean())


def _digits(clips: Sequence[Clip]) -> Tensor:
    return torch.tensor([WORDS.index(str(clip.labels["digit"])) for clip in clips])


# --- protocols ---


def pairs_of(data: Digits) -> list[tuple[str, str]]:
    return list(combinations(sorted(set(data.speakers)), 2))


def pool_without(data: Digits, held_out: Sequence[str]) -> Pool:
    known = torch.from_numpy(np.flatnonzero(~np.isin(data.speakers, held_out)))
    return Pool(known, torch.nonzero(~data.test).flatten())


def run_digits(
    data: Digits, loss: str, held_out: Sequence[str], seed: int, length: Length
) -> dict[str, float]:
    """One training with one loss, measured on two people whom it never heard."""
    torch.manual_seed(seed)
    config = model_config(LOSSES[loss])
    recogniser = build(config)
    train(data, recogniser, config.tasks, pool_without(data, held_out), LOSSES[loss], ALL, length)
    return figures(data, recogniser, held_out)


def run_teacher(
    data: Digits, held_out: Sequence[str], seed: int, length: Length
) -> dict[str, dict[str, float]]:
    """The student without a teacher, on its towers, and with its view of the pictures."""
    torch.manual_seed(seed)
    known = pool_without(data, held_out)
    few = known.clips[torch.randperm(len(known.clips))[: round(SHARE * len(known.clips))]]
    config = digits().model
    own = known.pictures[torch.randperm(len(known.pictures))[: len(few)]]  # as many pictures as clips
    found = {}
    recogniser = build(config)
    train(data, recogniser, config.tasks, Pool(few, own), ContrastiveConfig(), ALL, length)
    found["no teacher"] = figures(data, recogniser, held_out)
    teacher = build(config)
    train(data, teacher, config.tasks, known, ContrastiveConfig(), ("text", "vision"), length)
    weights = {name: value.clone() for name, value in teacher.state_dict().items()}
    frozen = [f"{part}.{name}" for name in ("text", "vision")
              for part in ("encoders", "fusion.unimodal.pools", "fusion.unimodal.projections")]  # fmt: skip
    for name, loss in (
        ("teacher's towers", ContrastiveConfig()),
        ("teacher's towers + KD", ContrastiveConfig(distillation=1.0)),
    ):
        student = build(config)
        student.load_state_dict(weights)
        train(data, student, config.tasks, Pool(few, own), loss, ALL, length, frozen=frozen)
        found[name] = figures(data, student, held_out)
    return found


def step_cost(rows: int, chunk: int) -> dict[str, Any]:
    """Processor time per clip of a step with the gradient cache over that of plain steps of `chunk` rows, on half a
    second of sound, pictures and words: the median of rounds in turns, and the peak memory."""
    torch.manual_seed(0)
    recogniser = build_recogniser(digits().model)
    optimizer = torch.optim.AdamW(recogniser.parameters(), lr=1e-3)
    _step(recogniser, optimizer, chunk, None)
    ratios = []
    for _ in range(ROUNDS):
        cached = _step(recogniser, optimizer, rows, chunk)
        plain = sum(_step(recogniser, optimizer, chunk, None) for _ in range(rows // chunk))
        ratios.append(cached / plain)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"rows": rows, "ratio": float(np.median(ratios)), "rounds": sorted(ratios), "peak GiB": peak}


def _step(recogniser: Recogniser, optimizer: torch.optim.Optimizer, rows: int, chunk: int | None) -> float:
    """The processor time of one step in seconds."""
    inputs = {
        "speech": Track(0.1 * torch.randn(rows, RATE // 2), torch.ones(rows, RATE // 2, dtype=torch.bool)),
        "text": Track(torch.randint(4, 300, (rows, 4)), torch.ones(rows, 4, dtype=torch.bool)),
        "vision": Track(
            torch.rand(rows, 1, 1, 32, 32).expand(-1, -1, 3, -1, -1), torch.ones(rows, 1, dtype=torch.bool)
        ),
    }
    target = functional.one_hot(torch.arange(rows) % len(WORDS)).float()
    batch = Batch(inputs, {"digit": target}, {"digit": torch.ones(rows, dtype=torch.bool)})
    began = time.process_time()
    output = recogniser(inputs) if chunk is None else forward_in_chunks(recogniser, inputs, chunk)
    loss = contrastive(
        output, batch, ContrastiveConfig(), towers_of(recogniser), task="digit", modalities=ALL, step=0
    )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return time.process_time() - began


# --- the command ---


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["digits", "teacher", "cache", "show"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("meaning.jsonl"))
    parser.add_argument("--losses", default=";".join(LOSSES))
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--chunk", type=int, default=128)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "cache":
        print(json.dumps(step_cost(arguments.rows, arguments.chunk)))
    elif arguments.what == "show":
        show(_lines(arguments.output))
    else:
        run(arguments, load(arguments.data))


def run(arguments: argparse.Namespace, data: Digits) -> None:
    """Every training that the output does not hold yet, a line each."""
    length = Length(arguments.steps, arguments.rows)
    done = {_key(line) for line in _lines(arguments.output)}
    pairs = pairs_of(data)[:: max(15 // arguments.pairs, 1)][: arguments.pairs]
    rows = ["no teacher"] if arguments.what == "teacher" else arguments.losses.split(";")
    for seed in range(arguments.seeds):
        for held_out in pairs:
            for row in rows:
                line = {"row": row, "held_out": list(held_out), "seed": seed, **asdict(length)}
                if _key(line) in done:
                    continue
                if arguments.what == "teacher":
                    for name, found in run_teacher(data, held_out, seed, length).items():
                        _append(arguments.output, {**line, "row": name, "figures": found})
                else:
                    found = run_digits(data, row, held_out, seed, length)
                    _append(arguments.output, {**line, "figures": found})


def show(lines: Sequence[Mapping[str, Any]]) -> None:
    """The table: for each row the mean over trainings, and the lowest and highest."""
    for row in dict.fromkeys(line["row"] for line in lines):
        own = [line for line in lines if line["row"] == row]
        cells = []
        for name in own[0]["figures"]:
            values = [line["figures"][name] for line in own]
            cells.append(f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        print(f"| {row} | {len(own)} | {' | '.join(cells)} |")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes a training the same as another."""
    return line["row"], tuple(line["held_out"]), line["seed"], line["steps"], line["rows"]


def _append(path: Path, line: Mapping[str, Any]) -> None:
    with path.open("a") as stream:
        print(json.dumps(line), file=stream, flush=True)
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
