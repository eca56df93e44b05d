"""Digits heard, seen and written: how well each finds the others, by loss.

    python benchmarks/meaning.py digits --data DIR --embedding embedding_model.onnx -o meaning.jsonl
    python benchmarks/meaning.py digits --data DIR -o scratch.jsonl --losses symmetric --pairs 3 --seeds 1
    python benchmarks/meaning.py teacher --data DIR --embedding embedding_model.onnx -o teacher.jsonl
    python benchmarks/meaning.py labelled --data DIR --embedding embedding_model.onnx -o labelled.jsonl --pairs 3
    python benchmarks/meaning.py cache --rows 4096 --chunk 128
    python benchmarks/meaning.py show -o meaning.jsonl

digits: two of the six speakers of FSDD are held out, in turn all 15 pairs; every clip of theirs (500) is a query
for a gallery of 1,000 pictures of MNIST that training never saw, 100 of each digit. All 100 are right; ties are
broken by chance. The other direction has the 1,000 pictures as queries and the 500 clips as the gallery, 50 of
them right. Prompts are the ten words, each in the templates of the experiment.

The towers are those of the experiment `digits`, and so are its two stages: words and pictures first, which no
speaker has a part in and which all pairs of speakers share, then voices, while the towers of words and pictures
stay as they are (Zhai et al. 2022, "LiT"), all three compared with one another in the loss of the row. With
--embedding the voices come through a published network, the file `embedding_model.onnx` of the package openwakeword
0.4.0, which is frozen: each clip is heard once as it is and five times varied, before anything is trained. Without
it the speech tower learns from nothing, as the experiment does it.

Every training is one line of the output, and is not repeated: an interrupted run goes on.

teacher: a tenth of the spoken digits is paired with pictures, one each, and nothing more is known of them. Without
a teacher, both towers learn from these pairs alone. The teacher learns words and pictures without any speech; its
towers are kept, and the student learns speech from the same tenth: with the contrastive loss alone, or with the
teacher's view of the pictures too. labelled: the same where it is known which digit each pair is, and so its word.

cache: time and memory of a step of 4,096 clips with the gradient cache, against plain steps for as many clips.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parts.digits import Digits, Drawn, Pool, batch_of, by_digit, draw, draw_pairs, load, vision_track
from parts.fitting import fit
from parts.lines import append_line, read_lines
from torch import Tensor
from torch.nn import functional

from affetto.data.corpora.digits import WORDS
from affetto.evaluation.retrieval import recall_at
from affetto.features.spectral import RATE
from affetto.learn.config import ContrastiveConfig, ModelConfig
from affetto.learn.experiments.digits import TEMPLATES, digits
from affetto.learn.models.build import build_recogniser
from affetto.learn.models.recogniser import Output, Recogniser
from affetto.learn.training.contrast import contrastive, forward_in_chunks, invariance, towers_of
from affetto.learn.training.objectives import task_losses
from affetto.records import Batch, Track

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
#: What the stage of voices leaves as the stage before it made it.
STILL = (
    *(f"encoders.{name}" for name in ALL[1:]),
    *(f"fusion.unimodal.{part}.{name}" for part in ("pools", "projections") for name in ALL[1:]),
    *(f"heads.digit.{name}" for name in ALL[1:]),
)
GALLERY_EACH, SHARE = 100, 0.1
NO_TEACHER, ALONE = "no teacher", 600  # and its steps: of 200, 600 and 1,400 the best, in a trial
ROUNDS = 7


def model_config(loss: ContrastiveConfig) -> ModelConfig:
    """The experiment's model; with heads that teach and a shared trunk where the loss wants them."""
    config = digits().model
    if loss.loss == "distance":
        task = replace(config.tasks[0], head="linear")
        return replace(config, fusion=replace(config.fusion, trunk=True), tasks=(task,))
    return config


# --- training ---


@dataclass(frozen=True)
class Length:
    """How long a training is: the steps of its two stages, and the rows of a batch."""

    pictures: int = 1400
    voices: int = 200
    rows: int = 64


class Still:
    """What the towers of words and pictures say of everything, worked out once since they stay as they are."""

    @torch.no_grad()
    def __init__(self, data: Digits, recogniser: Recogniser) -> None:
        recogniser.eval()
        everything = torch.arange(len(data.pictures)).split(200)
        seen = [recogniser({"vision": vision_track(data, part, False)}) for part in everything]
        read = recogniser({"text": Track(data.words.flatten(0, 1), data.word_mask.flatten(0, 1))})
        shape = (len(WORDS), len(TEMPLATES), -1)
        self.pictures = torch.cat([output.embeddings["vision"] for output in seen])
        self.words = read.embeddings["text"].view(shape)
        self._picture_logits = torch.cat([output.logits["digit"]["vision"] for output in seen])
        self._word_logits = read.logits["digit"]["text"].view(shape)

    def beside(self, output: Output, drawn: Drawn) -> Output:
        """What was said of voices, and of the words and pictures of the same rows."""
        words = drawn.classes, drawn.templates
        said = {"text": self._word_logits[words], "vision": self._picture_logits[drawn.pictures]}
        there = output.present["speech"]
        return replace(
            output,
            embeddings={
                **output.embeddings,
                "text": self.words[words],
                "vision": self.pictures[drawn.pictures],
            },
            logits={"digit": {**output.logits["digit"], **said}},
            present=dict.fromkeys(ALL, there),
        )


def train(
    data: Digits,
    recogniser: Recogniser,
    rows: Callable[[], Drawn],
    loss: ContrastiveConfig,
    compared: Sequence[str],
    steps: int,
    *,
    still: Still | None = None,
) -> None:
    """One stage. `still`: the towers of words and pictures, which then do not learn, and are compared with all
    the same."""
    trunk = ("fusion.trunk",) if loss.loss == "distance" else ()
    frozen, modalities = ((*STILL, *trunk), ALL[:1]) if still else ((), compared)
    towers, tasks = towers_of(recogniser), model_config(loss).tasks

    def loss_of(step: int) -> Tensor:
        drawn = rows()
        batch = batch_of(data, drawn, modalities)
        output = recogniser(batch.inputs)
        beside = still.beside(output, drawn) if still else output
        total = contrastive(beside, batch, loss, towers, task="digit", modalities=compared, step=step)
        told = task_losses(output, batch, tasks, modalities=modalities, all_modalities=ALL)
        if loss.invariance:
            again = recogniser(batch_of(data, drawn, modalities).inputs)
            total = total + loss.invariance * invariance(output, again, towers, modalities)
        return total + torch.stack(list(told.values())).sum()

    fit(recogniser, loss_of, steps, frozen=frozen)


# --- figures ---


@torch.inference_mode()
def figures(data: Digits, recogniser: Recogniser, still: Still, held_out: Sequence[str]) -> dict[str, float]:
    """R@1 both ways and the share of right classes by prompt, on people and pictures that were held out."""
    recogniser.eval()
    queries = torch.from_numpy(np.flatnonzero(np.isin(data.speakers, held_out)))
    gallery = torch.cat([
        torch.nonzero(data.test & (data.drawn == digit)).flatten()[:GALLERY_EACH] for digit in range(len(WORDS))
    ])  # fmt: skip
    tracks = [data.voices.as_they_are(part) for part in queries.split(100)]
    heard = torch.cat([recogniser({"speech": track}).embeddings["speech"] for track in tracks])
    seen, words = still.pictures[gallery], functional.normalize(still.words.mean(dim=1), dim=1)
    spoken, drawn = data.spoken[queries], data.drawn[gallery]
    alike = (spoken[:, None] == drawn[None]).numpy()
    return {
        "speech to image": recall_at((heard @ seen.T).numpy(), alike, 1),
        "image to speech": recall_at((seen @ heard.T).numpy(), alike.T, 1),
        "prompt from speech": _right(heard @ words.T, spoken),
        "prompt from image": _right(seen @ words.T, drawn),
    }


def _right(scores: Tensor, truth: Tensor) -> float:
    return float((scores.argmax(dim=1) == truth).float().mean())


# --- protocols ---


def pairs_of(data: Digits) -> list[tuple[str, str]]:
    return list(combinations(sorted(set(data.speakers)), 2))


def pool_without(data: Digits, held_out: Sequence[str]) -> Pool:
    known = torch.from_numpy(~np.isin(data.speakers, held_out))
    return Pool(by_digit(data.spoken, known), by_digit(data.drawn, ~data.test))


class Pictures:
    """The stage of words and pictures, once for each loss and seed: no speaker has a part in it."""

    def __init__(self, data: Digits, length: Length) -> None:
        self._data, self._length = data, length
        self._known: dict[tuple[str, int], tuple[dict[str, Tensor], Still]] = {}

    def of(self, loss: str, seed: int) -> tuple[Recogniser, Still]:
        """A model with the weights of that stage, the rest as it was drawn, and what its towers say."""
        torch.manual_seed(seed)
        recogniser = self._data.voices.build(model_config(LOSSES[loss]))
        if (loss, seed) not in self._known:
            rows = partial(draw, self._data, pool_without(self._data, ()), self._length.rows)
            train(self._data, recogniser, rows, LOSSES[loss], ALL[1:], self._length.pictures)
            weights = {name: value.clone() for name, value in recogniser.state_dict().items()}
            self._known[loss, seed] = weights, Still(self._data, recogniser)
        weights, still = self._known[loss, seed]
        recogniser.load_state_dict(weights)
        return recogniser, still


def run_digits(
    data: Digits, pictures: Pictures, loss: str, held_out: Sequence[str], seed: int, length: Length
) -> dict[str, float]:
    """Voices brought to words and pictures by one loss, measured on two people whom training never heard."""
    recogniser, still = pictures.of(loss, seed)
    torch.manual_seed(seed)
    rows = partial(draw, data, pool_without(data, held_out), length.rows)
    train(data, recogniser, rows, LOSSES[loss], ALL, length.voices, still=still)
    return figures(data, recogniser, still, held_out)


def run_teacher(
    data: Digits, pictures: Pictures, held_out: Sequence[str], seed: int, length: Length, *, labelled: bool
) -> dict[str, dict[str, float]]:
    """The student without a teacher, on its towers, and with its view of the pictures."""
    torch.manual_seed(seed)
    pool, found = a_tenth(pool_without(data, held_out)), {}
    if labelled:
        rows, compared, loss = partial(draw, data, pool, length.rows), ALL, ContrastiveConfig()
    else:
        rows = partial(draw_pairs, pool, length.rows)
        compared, loss = ("speech", "vision"), ContrastiveConfig(positives="item")
    known = ", labelled" if labelled else ""
    alone = data.voices.build(digits().model)
    train(data, alone, rows, loss, compared, ALONE)
    found[NO_TEACHER + known] = figures(data, alone, Still(data, alone), held_out)
    for name, distillation in (("teacher's towers", 0.0), ("teacher's towers + KD", 1.0)):
        student, still = pictures.of("symmetric", seed)
        torch.manual_seed(seed)
        told = replace(loss, distillation=distillation)
        train(data, student, rows, told, compared, length.voices, still=still)
        found[name + known] = figures(data, student, still, held_out)
    return found


def a_tenth(known: Pool) -> Pool:
    """A tenth of the clips of each digit, and as many pictures of it."""
    clips = [own[torch.randperm(len(own))[: round(SHARE * len(own))]] for own in known.clips]
    both = zip(known.pictures, clips, strict=True)
    return Pool(clips, [own[torch.randperm(len(own))[: len(few)]] for own, few in both])


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
    parser.add_argument("what", choices=["digits", "teacher", "labelled", "cache", "show"])
    parser.add_argument("--data", type=Path)
    parser.add_argument(
        "--embedding", type=Path, help="embedding_model.onnx of the package openwakeword 0.4.0"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("meaning.jsonl"))
    parser.add_argument("--losses", default=";".join(LOSSES))
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--picture-steps", type=int, default=Length.pictures)
    parser.add_argument("--voice-steps", type=int, default=Length.voices)
    parser.add_argument("--rows", type=int, default=Length.rows)
    parser.add_argument("--chunk", type=int, default=128)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "cache":
        print(json.dumps(step_cost(arguments.rows, arguments.chunk)))
    elif arguments.what == "show":
        show(read_lines(arguments.output))
    else:
        run(arguments, load(arguments.data, arguments.embedding))


def run(arguments: argparse.Namespace, data: Digits) -> None:
    """Every training that the output does not hold yet, a line each."""
    length = Length(arguments.picture_steps, arguments.voice_steps, arguments.rows)
    speech = "embedding" if arguments.embedding else "scratch"
    done = {_key(line) for line in read_lines(arguments.output)}
    pairs = pairs_of(data)[:: max(15 // arguments.pairs, 1)][: arguments.pairs]
    first = {"teacher": NO_TEACHER, "labelled": f"{NO_TEACHER}, labelled"}
    rows = [first[arguments.what]] if arguments.what in first else arguments.losses.split(";")
    pictures = Pictures(data, length)
    for seed in range(arguments.seeds):
        for row in rows:
            for held_out in pairs:
                line = {"row": row, "held_out": list(held_out), "seed": seed, "speech": speech}
                line |= asdict(length)
                if _key(line) in done:
                    continue
                if arguments.what == "digits":
                    found = {row: run_digits(data, pictures, row, held_out, seed, length)}
                else:
                    labelled = arguments.what == "labelled"
                    found = run_teacher(data, pictures, held_out, seed, length, labelled=labelled)
                for name, reached in found.items():
                    append_line(arguments.output, {**line, "row": name, "figures": reached})


def show(lines: Sequence[Mapping[str, Any]]) -> None:
    """The table: for each row the mean over trainings, and the lowest and highest."""
    for row in dict.fromkeys(line["row"] for line in lines):
        own = [line for line in lines if line["row"] == row]
        cells = []
        for name in own[0]["figures"]:
            values = [line["figures"][name] for line in own]
            cells.append(f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        print(f"| {row} | {len(own)} | {' | '.join(cells)} |")


def _key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes a training the same as another."""
    return (
        line["row"],
        tuple(line["held_out"]),
        line["seed"],
        line["speech"],
        line["pictures"],
        line["voices"],
        line["rows"],
    )


if __name__ == "__main__":
    main()
