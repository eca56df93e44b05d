"""What a step of training costs with each fusion, as a multiple of concat's.

    python benchmarks/fusion_cost.py

A step is forward, loss and backward of a batch of 8 clips: 3 s of speech, 20 words, a face. `step` is that of the
default experiment's model, `fusion` of fusion and heads alone, on Tracks that frozen encoders gave before: the
dearest that a form can look. Forms take turns, round after round, on one thread; time is the processor's, so
that other processes hardly count; the median of the rounds' ratios is given. `prefix`, which needs a language model,
is left out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from affetto.learn.experiments.default import default, speech_scratch
from affetto.learn.fusion import FUSIONS
from affetto.learn.models.build import build_recogniser
from affetto.learn.models.recogniser import Output, Recogniser
from affetto.records import Track

ROUNDS = 9
CLIPS, SAMPLES, WORDS, PIXELS = 8, 48_000, 20, 48
BASE = "concat"


def main() -> None:
    """Print, for each form, its parameters and the two ratios."""
    torch.set_num_threads(1)
    models = {name: model(name) for name in FUSIONS if name != "prefix"}
    media = batch()
    with torch.no_grad():
        tracks = models[BASE].eval().encode(media)
    whole = ratios({name: lambda m=m: step(m, m, media) for name, m in models.items()})
    alone = ratios({name: lambda m=m: step(m, m.fuse, tracks) for name, m in models.items()})
    print(f"{'form':22} {'parameters':>10} {'step':>6} {'fusion':>7}")
    for name, made in models.items():
        size = sum(parameter.numel() for parameter in made.fusion.parameters())
        print(f"{name:22} {size:10,} {whole[name]:6.2f} {alone[name]:7.2f}")


def model(fusion: str) -> Recogniser:
    """The default experiment's model with another fusion, its settings untouched, and the speech encoder that begins
    with nothing."""
    config = replace(default().model, speech=speech_scratch().model.speech)
    return build_recogniser(replace(config, fusion=replace(config.fusion, name=fusion)))


def batch() -> dict[str, Track]:
    """Noise, words and a picture of the usual lengths; only their sizes matter."""
    raw = {
        "speech": torch.randn(CLIPS, SAMPLES) * 0.1,
        "text": torch.randint(0, 8000, (CLIPS, WORDS)),
        "vision": torch.rand(CLIPS, 1, 3, PIXELS, PIXELS),
    }
    return {name: Track(x, torch.ones(x.shape[:2], dtype=torch.bool)) for name, x in raw.items()}


def step(
    recogniser: Recogniser, answer: Callable[[Mapping[str, Track]], Output], tracks: Mapping[str, Track]
) -> None:
    """Forward, a loss of every head and the vote, backward."""
    recogniser.train()
    recogniser.zero_grad()
    losses: list[Tensor] = [x.square().mean() for x in answer(tracks).logits["emotion"].values()]
    torch.stack([loss for loss in losses if loss.requires_grad]).sum().backward()


def ratios(steps: Mapping[str, Callable[[], None]]) -> dict[str, float]:
    """The median over rounds of each step's time over the base's in the same round; the first warms up."""
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS + 1):
        for name, run in steps.items():
            began = time.process_time()
            run()
            spent[name].append(time.process_time() - began)
    return {
        name: statistics.median(own / base for own, base in zip(times[1:], spent[BASE][1:], strict=True))
        for name, times in spent.items()
    }


if __name__ == "__main__":
    main()
