"""The timeline: conversations made of real clips, a stream against a batch, and an hour's time and memory.

    python benchmarks/timeline.py --data DIR [--people reserved|training] [--only changes whole equality speed]

*changes*: conversations of clips that differ in emotion, of people whom the bundle has never heard. A change of
emotion is found when a span of the timeline begins within a second of it; each answers for one. The emotion
diarisation error rate is the share of the time of a turn, its pauses included, to which another emotion than
its own, or none, was given (after Wang et al. 2023, "Speech Emotion Diarization").

*whole*: the one answer to a whole recording, of 20 s in one emotion, and of 38 s of which 24 are in one and
the rest in two others: how often it is that emotion, all seven allowed.

*equality*: random chunkings of clips and of one recording of twelve minutes, words included, against the whole.

*speed*: an hour of speech through the session that a file goes through, and the memory of the process.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

import affetto
from affetto.data.corpora import read_corpus
from affetto.media import decode_audio
from affetto.predictor import Predictor
from affetto.records import Clip, Prediction, Word

RATE = 16_000
EMOTIONS = ("anger", "happiness", "neutral", "sadness")
NEAR = 1.0  # seconds
Truth = list[tuple[float, float, str]]  # start, end, emotion


def people(data: Path, predictor: Predictor, which: str) -> dict[str, list[Clip]]:
    """Speaker to clips of the four emotions: those that the bundle keeps for tests, or all others."""
    found: dict[str, list[Clip]] = {}
    for corpus, reserved in predictor.bundle.info.reserved.items():
        for clip in read_corpus(corpus, data / corpus).clips:
            kept = str(clip.speaker) in reserved
            if kept == (which == "reserved") and clip.labels.get("emotion") in EMOTIONS:
                found.setdefault(f"{corpus}/{clip.speaker}", []).append(clip)
    return found


def conversation(clips: Sequence[Clip], rng: np.random.Generator) -> tuple[np.ndarray, Truth]:
    """Eight turns of one person, each of one to three clips of an emotion, with pauses of 0.2 to 0.8 s."""
    pieces, truth, at, before = [], [], 0, None
    for _ in range(8):
        emotion = str(rng.choice([e for e in EMOTIONS if e != before and _of(clips, e)]))
        start = at
        for _ in range(int(rng.integers(1, 4))):
            pieces.append(said(_of(clips, emotion), rng))
            at += len(pieces[-1])
        truth.append((start / RATE, at / RATE, emotion))
        before = emotion
    return np.concatenate(pieces), truth


def said(clips: Sequence[Clip], rng: np.random.Generator) -> np.ndarray:
    """One of the clips, and a pause of 0.2 to 0.8 s."""
    samples = trimmed(decode_audio(str(clips[rng.integers(len(clips))].speech)))
    return np.concatenate([samples, np.zeros(int(rng.uniform(0.2, 0.8) * RATE), np.float32)])


def _of(clips: Sequence[Clip], emotion: str) -> list[Clip]:
    return [clip for clip in clips if clip.labels["emotion"] == emotion]


def trimmed(samples: np.ndarray) -> np.ndarray:
    """A clip without the silence around it."""
    from affetto.align.activity import speech_probability, speech_spans

    spans = speech_spans(speech_probability(samples))
    return samples[int(spans[0][0] * RATE) : int(spans[-1][1] * RATE)] if spans else samples


# --- changes --------------------------------------------------------------------------------------------------


def changes(predictor: Predictor, by_person: dict[str, list[Clip]], seeds: int) -> dict[str, float]:
    """F1 of change points, and the diarisation error, over conversations of everyone."""
    hits = said = true = 0
    wrong = spoken = 0.0
    for person, clips in sorted(by_person.items()):
        for seed in range(seeds):
            samples, truth = conversation(clips, np.random.default_rng([seed, *person.encode()]))
            answer = predictor.predict(speech=samples, timeline=True)
            expected, found = [start for start, _, _ in truth[1:]], turns(answer)
            hits, said, true = hits + matched(expected, found), said + len(found), true + len(expected)
            errors, seconds = diarisation(answer, truth)
            wrong, spoken = wrong + errors, spoken + seconds
    precision, recall = hits / max(said, 1), hits / true
    return {
        "conversations": len(by_person) * seeds,
        "changes": true,
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(precision + recall, 1e-9),
        "diarisation error rate": wrong / spoken,
    }


def turns(answer: Prediction) -> list[float]:
    """Where the emotion changes: silences, and spans that are unsure, change nothing."""
    spans = [span for span in answer.spans if span.emotion is not None]
    return [b.start for a, b in pairwise(spans) if a.emotion != b.emotion]


def matched(expected: Sequence[float], found: Sequence[float]) -> int:
    """How many of the true changes have one found within a second, each used once (both ascending)."""
    count, rest = 0, list(found)
    for time in expected:
        near = next((other for other in rest if abs(other - time) <= NEAR), None)
        if near is not None:
            count += 1
            rest = rest[rest.index(near) + 1 :]
    return count


def diarisation(answer: Prediction, truth: Truth) -> tuple[float, float]:
    """Seconds of wrong emotion, and of the recording, in steps of 10 ms."""
    times = np.arange(0.005, truth[-1][1], 0.01)
    expected = np.array([next(e for start, end, e in truth if start <= t < end) for t in times])
    given = np.array(
        [next((str(s.emotion) for s in answer.spans if s.start <= t < s.end), "None") for t in times]
    )
    return float((expected != given).sum()) * 0.01, len(times) * 0.01


# --- whole ---------------------------------------------------------------------------------------------------


def whole(predictor: Predictor, by_person: dict[str, list[Clip]], seeds: int) -> dict[str, float]:
    """The share of recordings of everyone whose answer is the emotion that all, or most, of their time is in."""
    found = {"one emotion": 0, "most of the time": 0}
    for person, clips in sorted(by_person.items()):
        for seed in range(seeds):
            rng = np.random.default_rng([seed, *person.encode()])
            emotions = [emotion for emotion in EMOTIONS if _of(clips, emotion)]
            main, second, third = (str(name) for name in rng.permutation(emotions)[:3])
            plans = ([(main, 20)], [(main, 12), (second, 8), (main, 12), (third, 6)])
            for name, plan in zip(found, plans, strict=True):
                turns = [turn(_of(clips, emotion), seconds, rng) for emotion, seconds in plan]
                shares = predictor.predict(speech=np.concatenate(turns)).probabilities
                found[name] += max(shares, key=lambda emotion: shares[emotion]) == main
    recordings = len(by_person) * seeds
    return {"recordings": recordings, **{name: hits / recordings for name, hits in found.items()}}


def turn(clips: Sequence[Clip], seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Clips, each with a pause behind it, until they last as long."""
    pieces = [said(clips, rng)]
    while sum(map(len, pieces)) < seconds * RATE:
        pieces.append(said(clips, rng))
    return np.concatenate(pieces)


# --- equality -------------------------------------------------------------------------------------------------


def equality(predictor: Predictor, by_person: dict[str, list[Clip]], chunkings: int) -> dict[str, float]:
    """The largest difference of any probability between a stream and the whole."""
    rng = np.random.default_rng(0)
    clips = [clips[rng.integers(len(clips))] for clips in by_person.values() for _ in range(4)][:20]
    recordings = [decode_audio(str(clip.speech)) for clip in clips]
    long = np.concatenate(list(_endless(by_person, rng, 12 * 60)))
    worst, runs = 0.0, 0
    for number, samples in enumerate([*recordings, long]):
        words = [
            Word("happy sad well no".split()[k % 4], k + 0.2, k + 0.6) for k in range(len(samples) // RATE)
        ]
        whole = predictor.predict(speech=samples, words=words, timeline=True)
        for _ in range(chunkings if number < len(recordings) else max(chunkings // 20, 1)):
            worst, runs = max(worst, difference(stream(predictor, samples, words, rng), whole)), runs + 1
    return {"recordings": len(recordings) + 1, "chunkings": runs, "largest difference": worst}


def stream(
    predictor: Predictor, samples: np.ndarray, words: Sequence[Word], rng: np.random.Generator
) -> Prediction:
    """Fed in random chunks, each word with the chunk in which it ends."""
    session, waiting, at = predictor.stream(), list(words), 0
    while at < len(samples):
        end = min(at + int(rng.integers(1, int(rng.choice([400, 8000, 60_000])))), len(samples))
        ready = [word for word in waiting if word.end * RATE <= end]
        waiting = waiting[len(ready) :]
        session.feed(samples[at:end], ready)
        at = end
    return session.finish()


def difference(one: Prediction, other: Prediction) -> float:
    """The largest difference between two answers; infinite where they are of different form."""
    first, second = ([(s.emotion, s.words, s.reason) for s in answer.segments] for answer in (one, other))
    if first != second:
        return float("inf")
    pairs = [(one.probabilities, other.probabilities)]
    pairs += [(a.probabilities, b.probabilities) for a, b in zip(one.segments, other.segments, strict=True)]
    return max(abs(a[name] - b[name]) for a, b in pairs for name in a)


# --- speed ----------------------------------------------------------------------------------------------------


def speed(
    predictor: Predictor, by_person: dict[str, list[Clip]], minutes: int, spoken: float
) -> dict[str, float]:
    """Times real time, of the clock and of processor time, and how memory grew from minute 5 to the end, of a
    recording of which a share is spoken and the rest silent."""
    session = predictor.stream()
    rng = np.random.default_rng(0)
    began, worked, fed, early = perf_counter(), process_time(), 0, 0.0
    reading = 0.0
    source = _endless(by_person, rng, minutes * 60)
    while True:
        before = perf_counter()
        samples = next(source, None)
        reading += perf_counter() - before
        if samples is None:
            break
        if rng.random() >= spoken:
            samples = np.zeros_like(samples)
        session.feed(samples)
        fed += len(samples)
        if not early and fed >= 5 * 60 * RATE:
            early = _memory()
    answer = session.finish()
    clock = perf_counter() - began - reading
    return {
        "minutes": fed / RATE / 60,
        "segments": len(answer.segments),
        "times real time": fed / RATE / clock,
        "times real time of one core": fed / RATE / (process_time() - worked - reading),
        "memory at 5 minutes, MB": early,
        "growth to the end, MB": _memory() - early,
        "highest memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _endless(
    by_person: dict[str, list[Clip]], rng: np.random.Generator, seconds: float
) -> Iterator[np.ndarray]:
    """Clips of everyone, one after the other, decoded once."""
    clips = [clip for clips in by_person.values() for clip in clips]
    some = [decode_audio(str(clips[k].speech)) for k in rng.permutation(len(clips))[:60]]
    left = int(seconds * RATE)
    while left > 0:
        samples = some[rng.integers(len(some))][:left]
        left -= len(samples)
        yield samples


def _memory() -> float:
    """Resident memory of this process in MB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--bundle")
    parser.add_argument("--precision")
    parser.add_argument("--people", choices=("reserved", "training"), default="reserved")
    parser.add_argument("--only", nargs="+", choices=("changes", "whole", "equality", "speed"))
    parser.add_argument("--seeds", type=int, default=10, help="conversations of each person")
    parser.add_argument("--chunkings", type=int, default=200, help="of each clip")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--spoken", type=float, default=1.0, help="share of these minutes")
    options = parser.parse_args()
    predictor = affetto.load(options.bundle, precision=options.precision)
    by_person = people(options.data, predictor, options.people)
    found = {}
    for name in options.only or ("changes", "whole", "equality", "speed"):
        if name == "changes":
            found[name] = changes(predictor, by_person, options.seeds)
        elif name == "whole":
            found[name] = whole(predictor, by_person, options.seeds)
        elif name == "equality":
            found[name] = equality(predictor, by_person, options.chunkings)
        else:
            found[name] = speed(predictor, by_person, options.minutes, options.spoken)
        print(json.dumps({name: found[name]}, indent=1), flush=True)


if __name__ == "__main__":
    sys.exit(main())
