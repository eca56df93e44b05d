"""What enrolment with 20 unlabelled clips gives, and what it costs when they all carry one emotion.

    python benchmarks/enrolment.py --data DIR [--people reserved] [-o results.json]
    python benchmarks/enrolment.py --runs runs/protocols/without-* [-o results.json]

The people of whom the default bundle has learnt nothing ("reserved"), or those that were held out for validation
and by whom the method was chosen ("validation"). Every draw takes clips of one person: 20 of all emotions alike,
or 20 of one (at most half of what there is of it), makes a speaker of them, and compares UAR over the person's
other clips with and without. Each clip is answered once, by the product; a speaker's shift is then applied as
the product applies it to speech alone. Both are also enrolled with `all_moods`, which is not true of the second.

--runs: the people whom runs of benchmarks/speech_protocols.py held out, by the answers kept there; the temperature of
a run is fitted on the others.
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
from affetto.evaluation.calibration import apply_temperature, fit_temperature
from affetto.evaluation.metrics import bootstrap, uar
from affetto.labels import EMOTIONS
from affetto.predictor import load
from affetto.records import Prediction, Verdict

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


def answered_in(runs: Sequence[Path]) -> list[Person]:
    """The answers that runs of the protocols kept, person by person."""
    stored, found = [np.load(run / "test.npz") for run in runs], []
    for own in stored:
        logits, truths = ([part[name] for part in stored if part is not own] for name in ("clean", "truth"))
        temperature = fit_temperature(np.concatenate(logits), np.concatenate(truths))
        answers = [_as_answer(row) for row in apply_temperature(own["clean"], temperature)]
        for name in np.unique(own["speaker"]):
            places = np.flatnonzero(own["speaker"] == name)
            found.append(Person(str(name), own["truth"][places], [answers[i] for i in places]))
    return found


def _as_answer(probabilities: np.ndarray) -> Prediction:
    said = dict(zip(EMOTIONS, probabilities.tolist(), strict=True))
    best = max(said, key=said.__getitem__)
    verdict = {"speech": Verdict(best, said)}
    return Prediction(best, said[best], said, verdict, missing=(), model={"name": "run", "sha256": "0" * 64})


def gain(person: Person, enrolled: np.ndarray, *, all_moods: bool = False) -> float:
    """Points of UAR that enrolment with some clips (places) gives on the person's others."""
    speaker = learn_speaker((person.answers[i] for i in enrolled), all_moods=all_moods)
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
    """Gains of enrolment as it is, and of enrolment that is told, rightly or wrongly, that all moods are there."""
    return {
        name: {"balanced": of_all(people, draws, told), "one emotion": of_one(people, draws, told)}
        for name, told in (("as it is", False), ("all moods", True))
    }


def of_all(people: Sequence[Person], draws: int, told: bool) -> dict:
    """Mean gain of clips of all emotions, with an interval over people, and each person's."""
    gains = {
        p.name: _mean(lambda rng, p=p: gain(p, balanced(p.truth, rng), all_moods=told), draws) for p in people
    }
    values = [*gains.values()]
    return {"gain": float(np.mean(values)), "interval": _interval(values), "worst": min(values), **gains}


def of_one(people: Sequence[Person], draws: int, told: bool) -> dict:
    """Mean gain of clips of one emotion, the worst person and emotion, and each emotion's."""
    gains = {
        (p.name, EMOTIONS[emotion]): _mean(
            lambda rng, p=p, emotion=emotion: gain(p, skewed(p.truth, emotion, rng), all_moods=told), draws
        )
        for p in people
        for emotion in np.unique(p.truth)
        if (p.truth == emotion).sum() >= 2 * FEWEST
    }
    worst = min(gains, key=gains.__getitem__)
    return {
        "gain": float(np.mean([*gains.values()])),
        "worst": {"who": " ".join(worst), "gain": gains[worst]},
        **{
            name: float(np.mean([g for (_, emotion), g in gains.items() if emotion == name]))
            for name in dict.fromkeys(emotion for _, emotion in gains)
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
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="the folder that holds ravdess, emodb and nemo")
    source.add_argument("--runs", type=Path, nargs="+", help="folders of runs with a test.npz, two or more")
    parser.add_argument("--people", choices=PEOPLE, default="reserved")
    parser.add_argument("--bundle")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    people = (
        answered_in(given.runs) if given.runs else answered(given.data, PEOPLE[given.people], given.bundle)
    )
    results = json.dumps(report(people), indent=1)
    print(results)
    if given.output:
        given.output.write_text(results, encoding="utf-8")


if __name__ == "__main__":
    main()
