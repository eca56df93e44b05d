"""Feelings by names that were never labels: how well `affetto predict --zero-shot` tells them apart.

    python benchmarks/zero_shot.py --data DIR [--bundle B] [--texts 1000]

speech: the reserved speakers of RAVDESS, nEMO and EmoDB, asked for other words than the labels (furious,
revolted, terrified, delighted, calm, heartbroken, astonished), against the bundle's own answer to the same clip.

text: sentences of GoEmotions' official test that have one label, asked which of its 27 names fits: of these the
bundle was trained on sums of them alone (seven), never on the names. Chance, the most frequent name, and the most
that seven emotions allow (in each, always its most frequent name, by the true label's emotion) stand beside.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np

from affetto.data.corpora import read_corpus
from affetto.data.splits import reserve
from affetto.evaluation.metrics import bootstrap, uar
from affetto.labels import EMOTIONS, GOEMOTIONS, to_emotion
from affetto.learn.experiments.default import RESERVED
from affetto.predictor import Predictor, ZeroShot, load

#: In the order of `EMOTIONS`.
NAMES = ("furious", "revolted", "terrified", "delighted", "calm", "heartbroken", "astonished")


def speech(predictor: Predictor, data: Path) -> None:
    """UAR by names and by the bundle's own labels, with intervals over speakers."""
    asked = ZeroShot(predictor, NAMES)
    for corpus in ("ravdess", "nemo", "emodb"):
        clips = [c for c in reserve(read_corpus(corpus, data / corpus).clips, RESERVED) if c.split == "test"]
        truth = [EMOTIONS.index(str(clip.labels["emotion"])) for clip in clips]
        answers = [predictor.predict_clip(clip) for clip in clips]
        own = [int(np.argmax(list(answer.probabilities.values()))) for answer in answers]
        named = [NAMES.index(asked.answer(answer)["label"]) for answer in answers]
        groups = [str(clip.speaker) for clip in clips]
        for what, said in (("names", named), ("own labels", own)):
            low, high = bootstrap(uar, truth, said, groups=groups)
            line = {"corpus": corpus, "asked": what, "uar": uar(truth, said), "interval": [low, high]}
            print(json.dumps({**line, "clips": len(clips)}), flush=True)


def text(predictor: Predictor, data: Path, count: int) -> None:
    """Accuracy among 27 names, and what it is to be compared with."""
    folder = data / "text_goemotions"
    labels = (folder / "labels.txt").read_text().split()
    names = [name for name in labels if name != "neutral"]
    with gzip.open(folder / "test.tsv.gz", "rt", encoding="utf-8") as rows:
        pairs = [line.rstrip("\n").split("\t")[:2] for line in rows]
    single = [(words, labels[int(ids)]) for words, ids in pairs if ids.isdigit()]
    single = [(words, name) for words, name in single if name in names]
    chosen = [single[i] for i in np.random.default_rng(0).permutation(len(single))[:count]]
    truth = [name for _, name in chosen]
    asked = ZeroShot(predictor, names)
    said = [asked.answer(predictor.predict(text=words, language="en"))["label"] for words, _ in chosen]
    often = Counter(truth)
    best: dict[str | None, str] = {}
    for name, _ in often.most_common():
        best.setdefault(to_emotion(name, GOEMOTIONS), name)
    print(
        json.dumps(
            {
                "texts": len(chosen),
                "names": len(names),
                "accuracy": np.mean([a == b for a, b in zip(said, truth, strict=True)]),
                "chance": 1 / len(names),
                "most frequent": max(often.values()) / len(truth),
                "most that seven emotions allow": np.mean(
                    [best[to_emotion(name, GOEMOTIONS)] == name for name in truth]
                ),
            }
        ),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle")
    parser.add_argument("--texts", type=int, default=1000)
    arguments = parser.parse_args()
    predictor = load(arguments.bundle)
    text(predictor, arguments.data, arguments.texts)
    speech(predictor, arguments.data)


if __name__ == "__main__":
    main()
