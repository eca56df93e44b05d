"""Whether the default bundle knows when not to answer, and how sure it may be.

    python benchmarks/trust.py --data DIR [--bundle B] [--precision int8] [-o results.json]

*No speech*: 500 clips made here of silence, noise, tones, chords, music, clicks, engines, rain and animals; the
product should answer none. No line of what makes them is shared with `affetto.learn.export.sounds` and
`benchmarks/activity.py`, on whose sounds the speech detector and the bundle's voice were fitted and chosen.
*Clean speech*: the people of RAVDESS, nEMO and EmoDB whom the bundle never heard; the product should answer nearly
all. On these also the calibration error, and what abstaining from the least sure fifth of the answers is worth;
intervals are bootstraps over people.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from affetto.data.corpora import read_corpus
from affetto.errors import MediaError
from affetto.evaluation.calibration import accuracy_at_coverage, aurc, calibration_gap
from affetto.evaluation.metrics import bootstrap
from affetto.labels import EMOTIONS
from affetto.predictor import Predictor, load

RATE = 16_000
CLIPS = 500
COVERAGE = 0.8
PEOPLE = {"ravdess": ("15", "16"), "nemo": ("SM0", "KD0"), "emodb": ("15", "16")}

Rng = np.random.Generator
Array = np.ndarray


# --- sounds that are no speech ------------------------------------------------------------------------------


def silence(n: int, rng: Rng) -> Array:
    """Digital silence, a constant, or the last bit of 16 flickering."""
    bit = 2.0**-15
    return (np.zeros(n), np.full(n, rng.uniform(-0.1, 0.1)), bit * rng.integers(-1, 2, n))[rng.integers(3)]


def white(n: int, rng: Rng) -> Array:
    return rng.uniform(-1, 1, n)


def pink(n: int, rng: Rng) -> Array:
    """Random values that are held for 1, 2, 4, ... samples, added up (Voss 1978)."""
    return sum(np.repeat(rng.standard_normal(n // 2**k + 1), 2**k)[:n] for k in range(12))


def brown(n: int, rng: Rng) -> Array:
    """A random walk that is pulled back to the middle."""
    pull = 0.9995
    decay = pull ** np.arange(20_000)
    return fast_convolve(rng.standard_normal(n), decay)[:n]


def tone(n: int, rng: Rng) -> Array:
    """A sine, a square wave, or a pair of sines that beat; steady, or with a tremolo."""
    t, f = clock(n), 2 ** rng.uniform(6, 12)
    wave = (
        np.sin(2 * np.pi * f * t),
        np.sign(np.sin(2 * np.pi * f * t)),
        np.sin(2 * np.pi * f * t) + np.sin(2 * np.pi * (f + rng.uniform(1, 9)) * t),
    )[rng.integers(3)]
    return wave * (1 - rng.choice([0, 0.7]) * (1 + np.sin(2 * np.pi * rng.uniform(2, 8) * t)) / 2)


def chord(n: int, rng: Rng) -> Array:
    """Three or four notes of a triad held together, each with overtones that fade upwards."""
    root, shape = 2 ** rng.uniform(6.5, 8.5), ((0, 4, 7), (0, 3, 7), (0, 4, 7, 10))[rng.integers(3)]
    t, fade = clock(n), rng.uniform(0.2, 0.7)
    return sum(
        fade**k * np.sin(2 * np.pi * root * 2 ** (step / 12) * (k + 1) * t + rng.uniform(0, 6))
        for step in shape
        for k in range(8)
        if root * 2 ** (step / 12) * (k + 1) < RATE / 2
    )


def music(n: int, rng: Rng) -> Array:
    """A melody of frequency-modulated notes (Chowning 1973) over broken chords and a beat."""
    beat = int(rng.uniform(0.22, 0.5) * RATE)
    scale, root = (0, 2, 3, 5, 7, 8, 10, 12), 2 ** rng.uniform(7, 8.3)
    samples, step = np.zeros(n + 2 * beat), 3
    for place, at in enumerate(range(0, n, beat)):
        step = int(np.clip(step + rng.integers(-2, 3), 0, 7))
        length = beat * (1 + place % 2)
        t = clock(length)
        f = root * 2 ** (scale[step] / 12)
        swing = rng.uniform(1, 4) * np.exp(-3 * t) * np.sin(2 * np.pi * f * rng.choice([1, 2, 3.5]) * t)
        samples[at : at + length] += np.exp(-4 * t) * np.sin(2 * np.pi * f * t + swing)
        bass = root / 2 * 2 ** (scale[(0, 4, 2, 4)[place % 4]] / 12)
        samples[at : at + length] += 0.5 * np.exp(-6 * t) * np.sin(2 * np.pi * bass * t)
        hit = rng.laplace(size=beat) * np.exp(-clock(beat) * (60 if place % 2 else 25))
        samples[at : at + beat] += 0.4 * hit
    return samples[:n]


def ticks(n: int, rng: Rng) -> Array:
    """A metronome, or keys being typed: short damped knocks."""
    gap = rng.uniform(0.08, 0.8)
    knocks, at = np.zeros(n), rng.uniform(0, gap)
    typed = rng.random() < 0.5
    while at < n / RATE:
        knocks[int(at * RATE)] = rng.uniform(0.4, 1)
        at += gap * (rng.uniform(0.3, 2) if typed else 1)
    t = clock(1600)
    return fast_convolve(
        knocks, np.sin(2 * np.pi * rng.uniform(400, 5000) * t) * np.exp(-rng.uniform(80, 500) * t)
    )


def engine(n: int, rng: Rng) -> Array:
    """Firings of an idling or revving motor, ringing in its case, with hiss that goes along."""
    speed = rng.uniform(15, 80) * (
        1 + 0.3 * rng.integers(2) * np.sin(2 * np.pi * rng.uniform(0.1, 0.6) * clock(n))
    )
    turns = np.cumsum(speed) / RATE
    fired = np.flatnonzero(np.diff(np.floor(turns), prepend=0.0) > 0)
    pulses = np.zeros(n)
    pulses[fired] = 1 + 0.15 * rng.standard_normal(len(fired))
    t = clock(3200)
    case = sum(
        np.exp(-rng.uniform(20, 90) * t) * np.sin(2 * np.pi * rng.uniform(60, 900) * t) for _ in range(4)
    )
    return fast_convolve(pulses, case) + 0.1 * rng.standard_normal(n) * (1 + np.sin(2 * np.pi * turns))


def rain(n: int, rng: Rng) -> Array:
    """Drops that ring as they fall, hundreds a second, and the hiss of those far away."""
    samples = 0.02 * np.diff(rng.standard_normal(n + 1))
    for at in rng.integers(0, n, int(rng.uniform(50, 400) * n / RATE)):
        t = clock(min(240, n - at))
        ring = np.sin(2 * np.pi * rng.uniform(1500, 7000) * t) * np.exp(-rng.uniform(300, 1500) * t)
        samples[at : at + len(t)] += rng.pareto(3) * ring
    return samples


def animals(n: int, rng: Rng) -> Array:
    """Crickets, whose pulses come in trains, or birds, whose notes glide up and down."""
    t, base = clock(n), rng.uniform(2000, 5500)
    if rng.random() < 0.4:
        trains = np.sin(2 * np.pi * rng.uniform(20, 60) * t) * (np.sin(2 * np.pi * rng.uniform(1, 4) * t) > 0)
        return np.sin(2 * np.pi * base * t) * np.clip(trains, 0, None)
    samples, at = np.zeros(n), 0
    while at < n:
        note = clock(min(int(rng.uniform(0.03, 0.25) * RATE), n - at))
        glide = base * (1 + rng.uniform(-0.3, 0.3) * np.sin(np.pi * note * rng.uniform(4, 40)))
        samples[at : at + len(note)] = (
            np.sin(2 * np.pi * np.cumsum(glide) / RATE) * np.sin(np.pi * note / note.max(initial=1e-3)) ** 2
        )
        at += len(note) + int(rng.uniform(0.02, 0.5) * RATE)
    return samples


SOUNDS: Mapping[str, Callable[[int, Rng], Array]] = {
    "silence": silence,
    "white noise": white,
    "pink noise": pink,
    "brown noise": brown,
    "tones": tone,
    "chords": chord,
    "music": music,
    "clicks": ticks,
    "engines": engine,
    "rain": rain,
    "animals": animals,
}


def clock(n: int) -> Array:
    return np.arange(n) / RATE


def fast_convolve(samples: Array, response: Array) -> Array:
    size = len(samples) + len(response)
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]


def sounds(count: int = CLIPS, seed: int = 0) -> list[tuple[str, Array]]:
    """`count` clips of 1.5 to 6 s, every kind in turn, from -40 to -1 dB of full scale at the peak."""
    rng, kinds, made = np.random.default_rng(seed), list(SOUNDS), []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        samples = SOUNDS[kind](int(rng.uniform(1.5, 6) * RATE), rng)
        if kind != "silence":
            samples = samples / np.abs(samples).max() * 10 ** (rng.uniform(-40, -1) / 20)
        made.append((kind, samples.astype(np.float32)))
    return made


# --- measuring ----------------------------------------------------------------------------------------------


def without_speech(model: Predictor) -> dict[str, Any]:
    """The share of the made clips that the model does not answer, and which kinds it answers."""
    reasons = [(kind, refusal(model, samples)) for kind, samples in sounds()]
    answered = Counter(kind for kind, reason in reasons if reason is None)
    return {
        "clips": len(reasons),
        "abstained": float(np.mean([reason is not None for _, reason in reasons])),
        "reasons": dict(Counter(str(reason) for _, reason in reasons)),
        "answered": dict(answered),
    }


def refusal(model: Predictor, samples: Array) -> str | None:
    """Why the model does not answer; digital silence is refused before the model hears it."""
    try:
        return model.predict(speech=samples).reason
    except MediaError as error:
        return error.code


def with_speech(model: Predictor, data: Path) -> dict[str, Any]:
    """Abstention, calibration and selective accuracy on the people whom the bundle never heard."""
    clips = [
        clip
        for corpus, people in PEOPLE.items()
        for clip in read_corpus(corpus, data / corpus).clips
        if clip.speaker in people and clip.labels.get("emotion") in EMOTIONS
    ]
    answers = [model.predict(speech=clip.speech) for clip in clips]
    people = [f"{clip.corpus}/{clip.speaker}" for clip in clips]
    confidence = np.array([answer.confidence for answer in answers])
    right = np.array(
        [
            max(answer.probabilities, key=lambda name: answer.probabilities[name]) == clip.labels["emotion"]
            for answer, clip in zip(answers, clips, strict=True)
        ]
    )

    def gain(values: Array, correct: Array) -> float:
        return 100 * (accuracy_at_coverage(values, correct, COVERAGE) - float(correct.mean()))

    scores = {"ece": calibration_gap, "aurc": aurc, f"points at {COVERAGE:.0%} coverage": gain}
    reasons = Counter(answer.reason for answer in answers if answer.abstained)
    return {
        "clips": len(clips),
        "people": len(set(people)),
        "abstained": float(np.mean([answer.abstained for answer in answers])),
        "reasons": {str(reason): count for reason, count in reasons.items()},
        "accuracy": float(right.mean()),
        **{
            name: {
                "value": float(score(confidence, right)),
                "interval": list(bootstrap(score, confidence, right, groups=people)),
            }
            for name, score in scores.items()
        },
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder that holds ravdess, nemo and emodb"
    )
    parser.add_argument("--bundle")
    parser.add_argument("--precision", choices=("int8", "fp32"))
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    model = load(given.bundle, precision=given.precision)
    found = {"no speech": without_speech(model), "clean speech": with_speech(model, given.data)}
    print(text := json.dumps(found, indent=1))
    if given.output:
        given.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
