"""Few-shot adaptation: 5 clips of each class of a speaker whom the bundle has never heard.

    python benchmarks/adaptation.py --data DIR [--clips 5] [--draws 20] [-o results.json]

The speakers of nEMO that are reserved from the default bundle, each for themselves: every draw adapts the head to
5 clips of each class with `learn.export.adapt.adapt_head`, as `affetto train my.csv` does, and answers the
speaker's other clips with the bundle's own vote. Each clip goes through the bundle's int8 parts once.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from affetto.bundle import Bundle, open_bundle
from affetto.data.corpora import read_corpus
from affetto.evaluation.metrics import interval, uar
from affetto.learn.export.adapt import ViewAnswers, adapt_head, answers_of, read_items
from affetto.learn.export.writer import load_model
from affetto.learn.models.recogniser import VOTE, Recogniser
from affetto.records import MODALITIES, Clip

PEOPLE = ("SM0", "KD0")


def speaker(bundle: Bundle, clips: list[Clip], shots: int, draws: int) -> list[dict]:
    """UAR before and after of every draw, on the clips that it left."""
    task = bundle.info.task("emotion")
    assert task is not None
    items = read_items(bundle, clips, task)
    heard, truth = answers_of(bundle, items, task), items.targets
    model, spoken, found = load_model(bundle), heard["speech"], []
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        piles = [rng.permutation(np.flatnonzero(truth == label))[:shots] for label in np.unique(truth)]
        seen = np.concatenate(piles)
        rest = np.setdiff1d(np.arange(len(truth)), seen)
        change = adapt_head(spoken.vectors[seen], spoken.logits[seen], truth[seen])
        part = ViewAnswers(rest, spoken.vectors[rest], spoken.logits[rest])
        before = heard[VOTE].logits[rest]
        moved = vote(model, part.logits + change(part.vectors)) - vote(model, part.logits)
        found.append(
            {
                "before": uar(truth[rest], before.argmax(axis=1)),
                "after": uar(truth[rest], (before + moved).argmax(axis=1)),
                "strength": change.strength,
            }
        )
    return found


def vote(model: Recogniser, logits: np.ndarray) -> np.ndarray:
    """The vote's answer [N C] to speech alone. It is a sum over views: what `fused` says cancels in a difference."""
    said = torch.from_numpy(logits)
    there, absent = torch.ones(len(said), dtype=torch.bool), torch.zeros(len(said), dtype=torch.bool)
    views = model.views_of("emotion")
    given = {view: said if view == "speech" else torch.zeros_like(said) for view in views}
    present = {view: absent if view in MODALITIES and view != "speech" else there for view in views}
    with torch.inference_mode():
        return model.votes["emotion"](given, present)[0].numpy()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds nemo")
    parser.add_argument("--clips", type=int, default=5, help="of each class")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--bundle")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    bundle, clips = open_bundle(given.bundle), read_corpus("nemo", given.data / "nemo").clips
    results, gains = {}, []
    for name in PEOPLE:
        own = [clip for clip in clips if clip.speaker == name]
        draws = speaker(bundle, own, given.clips, given.draws)
        gains.append([100 * (draw["after"] - draw["before"]) for draw in draws])
        means = {key: float(np.mean([draw[key] for draw in draws])) for key in ("before", "after")}
        results[name] = {**means, "gain": float(np.mean(gains[-1])), "worst draw": min(gains[-1])}
    both = np.mean(gains, axis=0)
    low, high = interval(both)
    results["gain, mean of people"] = {"points": float(both.mean()), "interval over draws": [low, high]}
    print(text := json.dumps(results, indent=1))
    if given.output:
        given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
