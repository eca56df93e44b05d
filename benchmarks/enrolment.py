"""What enrolment with 20 unlabelled clips gives, and what it costs when they all carry one emotion.

    python benchmarks/enrolment.py --data DIR [--people reserved] [-o results.json]

The people of whom the default bundle has learnt nothing ("reserved"), or those that were held out for validation
and by whom the method was chosen ("validation"). Every draw takes clips of one person: 20 of all emotions alike,
or 20 of one (at most half of what there is of it), makes a speaker of them, and compares UAR over the person's
other clips with and without. Each clip is answered once, by the product; a speaker's shift is then applied as
the product applies it to speech alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affetto.data.corpora import read_corpus
from affetto.enrolment import learn_speaker
from affetto.evaluation.metrics import bootstrap, uar
from affetto.labels import EMOTIONS
from affetto.predictor import load
from affetto.records import Prediction

PEOPLE = {
    "reserved": {"ravdess": ("15", "16"), "nemo": ("SM0", "KD0"), "emodb": ("15", "16")},
    "validation": {"ravdess": ("10", "11"), "nemo": ("IC0",), "emodb": ("13",)},
}
CLIPS, DRAWS, FEWEST = 20, 20, 4


@dataclass(frozen=True)
class Person:
    """Somebody's clips: what is true of them [N], places among the emotions, and the model's answers."""

    name: str
    truth: np.ndarray
    answers: list[Prediction]


def answered(data: Path, people: dict[str, Sequence[str]], bundle: str | None) -> list[Person]:
    """The product's answers to all clips of some people, each clip's speech alone."""
    model, found = load(bundle), []
    for corpus, names in people.items():
        clips = read_corpus(corpus, data / corpus).clips
        for name in names:
            own = [clip for clip in clips if clip.speaker == name and clip.labels.get("emotion") in EMOTIONS]
            truth = np.array([EMOTIONS.index(str(clip.labels["emotion"])) for clip in own])
            answers = [model.predict(speech=clip.speech) for clip in own]
            found.append(Person(f"{corpus} {name}", truth, answers))
    return found


def gain(person: Person, enrolled: np.ndarray) -> float:
    """Points of UAR that enrolment with some clips (places) gives on the person's others."""
    speaker = learn_speaker(person.answers[i] for i in enrolled)
    labels = tuple(person.answers[0].probabilities)
    rest = np.setdiff1d(np.arange(len(person.truth)), enrolled)
    logs = np.log([[person.answers[i].probabilities[name] for name in labels] for i in rest])
    shift = np.array([speaker.shift[name] for name in labels])
    truth = np.array([labels.index(EMOTIONS[i]) for i in person.truth[rest]])
    return 100 * (uar(truth, (logs + shift).argmax(axis=1)) - uar(truth, logs.argmax(axis=1)))


def balanced(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """20 places, of every emotion alike as far as the clips go."""
    # The n-th clip of an emotion comes after every n-1st: sorted by that, the first 20 are spread evenly.
    shuffled = rng.permutation(len(truth))
    turn = np.array([(truth[shuffled[:place]] == truth[i]).sum() for place, i in enumerate(shuffled)])
    return shuffled[np.argsort(turn, kind="stable")][:CLIPS]


def skewed(truth: np.ndarray, emotion: int, rng: np.random.Generator) -> np.ndarray:
    """20 places of one emotion, or half of what there is of it."""
    places = rng.permutation(np.flatnonzero(truth == emotion))
    return places[: min(CLIPS, len(places) // 2)]


def report(people: Sequence[Person], draws: int = DRAWS) -> dict:
    """Mean gains with intervals over people, and the worst person and emotion."""
    even = {p.name: _mean(lambda rng, p=p: gain(p, balanced(p.truth, rng)), draws) for p in people}
    single = {
        (p.name, EMOTIONS[emotion]): _mean(
            lambda rng, p=p, emotion=emotion: gain(p, skewed(p.truth, emotion, rng)), draws
        )
        for p in people
        for emotion in np.unique(p.truth)
        if (p.truth == emotion).sum() >= 2 * FEWEST
    }
    worst = min(single, key=single.__getitem__)
    return {
        "balanced": {
            "gain": float(np.mean([*even.values()])),
            "interval": _interval([*even.values()]),
            **even,
        },
        "one emotion": {
            "gain": float(np.mean([*single.values()])),
            "worst": {"who": " ".join(worst), "gain": single[worst]},
            **{
                name: float(np.mean([g for (_, emotion), g in single.items() if emotion == name]))
                for name in dict.fromkeys(emotion for _, emotion in single)
            },
        },
    }


def _mean(trial: Callable[[np.random.Generator], float], draws: int) -> float:
    return float(np.mean([trial(np.random.default_rng(draw)) for draw in range(draws)]))


def _interval(gains: Sequence[float]) -> list[float]:
    return list(bootstrap(lambda values, _: float(np.mean(values)), np.array(gains), np.array(gains)))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder that holds ravdess, emodb and nemo"
    )
    parser.add_argument("--people", choices=PEOPLE, default="reserved")
    parser.add_argument("--bundle")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    results = json.dumps(report(answered(given.data, PEOPLE[given.people], given.bundle)), indent=1)
    print(results)
    if given.output:
        given.output.write_text(results, encoding="utf-8")


if __name__ == "__main__":
    main()
