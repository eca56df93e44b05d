"""Sentences heard and read in one space: recognise what was said among sentences, also ones never trained.

    python benchmarks/phrases.py --data DIR --embedding embedding_model.onnx -o phrases.jsonl
    python benchmarks/phrases.py show -o phrases.jsonl

nemo: 90 Polish sentences, each acted in six emotions. Two of the six speakers are held out, in three pairs; 15 of the
sentences, drawn by the seed, are said by nobody in training. What the two people say is looked for among all 90
sentences, and what they say of the 15 also among these alone. (50 of the 90 are said by one person, MP0, alone: with
that person held out they are asked for only where they are among the 15.)
grid: 120 English commands of one speaker, "bin blue at f two now": 24 of them, drawn by the seed, are never trained.
They are looked for among themselves and among all.

Speech comes through the published embedding of the package openwakeword 0.4.0, frozen; a small Transformer stands on
it, and another reads the text, by pieces of words. Every training is one line of the output, and is not repeated.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parts.embedded import EMBEDDED, Embedded
from parts.fitting import fit
from parts.lines import append_line, read_lines
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from affetto.evaluation.retrieval import recall_at
from affetto.features.text import encode, train_tokenizer
from affetto.learn.config import (
    ContrastiveConfig,
    FeaturesConfig,
    FusionConfig,
    ModelConfig,
    TextConfig,
)
from affetto.learn.models.build import build_recogniser
from affetto.learn.models.recogniser import Recogniser
from affetto.learn.training.contrast import contrastive, towers_of
from affetto.media import decode_audio
from affetto.records import Batch, Track

#: Sentences that training never meets.
NEW = {"nemo": 15, "grid": 24}
VERSIONS, SECONDS = 3, 6.0
STEPS, ROWS, RATE = 600, 64, 2e-3


@dataclass(frozen=True)
class Said:
    """A corpus: clips as embeddings, who speaks, and which of the sentences it is [N]."""

    voices: Embedded
    speakers: np.ndarray
    sentence: Tensor
    sentences: Sequence[str]


@dataclass(frozen=True)
class Split:
    """Who and what is held out, by number."""

    training: Tensor
    queries: Tensor
    new: Tensor  # sentences


def load(folder: Path, weights: Path) -> Said:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    sentences = sorted({row["text"] for row in rows})
    waveforms = [decode_audio(folder / row["path"]) for row in rows]
    return Said(
        Embedded.of(waveforms, weights, versions=VERSIONS, seconds=SECONDS),
        np.array([row["speaker"] for row in rows]),
        torch.tensor([sentences.index(row["text"]) for row in rows]),
        sentences,
    )


def split_of(said: Said, new: int, held_out: Sequence[str], seed: int) -> Split:
    """Training has neither the people nor the new sentences; of one speaker alone, only these are kept from it."""
    generator = torch.Generator().manual_seed(seed)
    kept = torch.randperm(len(said.sentences), generator=generator)[:new]
    unseen = torch.isin(said.sentence, kept)
    strangers = torch.from_numpy(np.isin(said.speakers, held_out))
    training = ~unseen & ~strangers
    # One of the people says sentences that nobody else does: held out, these are neither known nor of the new ones.
    queries = (
        strangers & (unseen | torch.isin(said.sentence, said.sentence[training])) if held_out else unseen
    )
    return Split(torch.nonzero(training).flatten(), torch.nonzero(queries).flatten(), kept)


def build(vocabulary: int) -> Recogniser:
    return build_recogniser(
        ModelConfig(
            dim=96,
            features={"speech": FeaturesConfig(EMBEDDED, "transformer", width=96, dropout=0.1)},
            text=TextConfig("transformer", vocab_size=vocabulary, width=96, layers=1),
            fusion=FusionConfig(name="towers"),
        )
    )


def train(said: Said, split: Split, tokenizer: Tokenizer, vocabulary: int) -> Recogniser:
    """Each row of a batch another sentence, in somebody's voice."""
    recogniser = build(vocabulary)
    towers, nothing = towers_of(recogniser), ContrastiveConfig(positives="item")
    known = said.sentence[split.training]
    clips_of = [split.training[known == sentence] for sentence in known.unique()]

    def loss_of(step: int) -> Tensor:
        chosen = torch.randperm(len(clips_of))[:ROWS]
        clips = torch.stack([clips_of[i][torch.randint(len(clips_of[i]), ())] for i in chosen.tolist()])
        texts = [said.sentences[i] for i in said.sentence[clips].tolist()]
        inputs = {"speech": said.voices.varied(clips), "text": text_track(texts, tokenizer)}
        batch = Batch(inputs, {}, {})
        names = tuple(inputs)
        return contrastive(recogniser(inputs), batch, nothing, towers, task="", modalities=names, step=step)

    fit(recogniser, loss_of, STEPS, rate=RATE)
    return recogniser.eval()


def text_track(texts: Sequence[str], tokenizer: Tokenizer) -> Track:
    ids = [torch.from_numpy(encode(tokenizer, text, 96)) for text in texts]
    values = pad_sequence(ids, batch_first=True)
    return Track(values, torch.arange(values.shape[1])[None] < torch.tensor([len(x) for x in ids])[:, None])


@torch.inference_mode()
def figures(said: Said, split: Split, recogniser: Recogniser, tokenizer: Tokenizer) -> dict[str, float]:
    """Speech to text R@1: of known sentences among all, of new ones among all, and among themselves; and back."""
    heard = torch.cat(
        [
            recogniser({"speech": said.voices.as_they_are(part)}).embeddings["speech"]
            for part in split.queries.split(50)
        ]
    )
    read = recogniser({"text": text_track(said.sentences, tokenizer)}).embeddings["text"]
    sentence = said.sentence[split.queries]
    alike = sentence[:, None] == torch.arange(len(said.sentences))[None]
    unseen = torch.isin(sentence, split.new)
    scores = heard @ read.T

    def recall(rows: Tensor, columns: Tensor | slice) -> float:
        return recall_at(scores[rows][:, columns].numpy(), alike[rows][:, columns].numpy(), 1)

    found = {"known": recall(~unseen, slice(None))} if bool((~unseen).any()) else {}
    found["new, among all"] = recall(unseen, slice(None))
    found["new, among the new"] = recall(unseen, split.new)
    there = torch.tensor(sorted(set(sentence.tolist())))
    found["text to speech"] = recall_at(scores.T[there].numpy(), alike.T[there].numpy(), 1)
    return found


def run(name: str, said: Said, output: Path, seeds: int) -> None:
    """Every training that the output does not hold yet, a line each."""
    done = {(line["corpus"], line["seed"], tuple(line["held_out"])) for line in read_lines(output)}
    people = sorted(set(said.speakers))
    pairs = [people[i : i + 2] for i in range(0, len(people), 2)] if len(people) > 1 else [[]]
    vocabulary = 400
    for seed in range(seeds):
        for held_out in pairs:
            if (name, seed, tuple(held_out)) in done:
                continue
            torch.manual_seed(seed)
            split = split_of(said, NEW[name], held_out, seed)
            known = sorted({said.sentences[i] for i in said.sentence[split.training].tolist()})
            tokenizer = train_tokenizer(known, vocabulary)
            found = figures(said, split, train(said, split, tokenizer, vocabulary), tokenizer)
            line = {"corpus": name, "seed": seed, "held_out": list(held_out), "figures": found}
            append_line(output, line)


def show(lines: Sequence[Mapping[str, Any]]) -> None:
    """For each corpus the mean over trainings, and the lowest and highest."""
    for corpus in dict.fromkeys(line["corpus"] for line in lines):
        own = [line["figures"] for line in lines if line["corpus"] == corpus]
        for name in own[0]:
            values = [found[name] for found in own]
            print(
                f"| {corpus} | {name} | {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f}) | {len(own)} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["run", "show"], default="run")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--embedding", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("phrases.jsonl"))
    parser.add_argument("--corpora", default="grid,nemo")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "run":
        for name in arguments.corpora.split(","):
            folder = arguments.data / ("grid_av" if name == "grid" else name)
            run(name, load(folder, arguments.embedding), arguments.output, arguments.seeds)
    show(read_lines(arguments.output))


if __name__ == "__main__":
    main()
