"""Speech activity: how much speech is missed, and what else is taken for speech.

    python benchmarks/activity.py --data PATH          measure affetto.align.activity
    python benchmarks/activity.py --data PATH --fit    fit its logistic functions again and print them

PATH holds the corpora `grid_av`, `emodb`, `ravdess`, `nemo` and `fsdd`. Speech whose edges are marked (GRID by
words, EmoDB by syllables) is judged frame by frame, other speech by clip. People and sounds that are measured
are not those that are fitted on; of GRID nothing is fitted on. fsdd is digits cut from telephone-band recordings,
a third of a second each.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from affetto.align.activity import (
    FIRST_FRAME,
    FRAME_RATE,
    ActivityStream,
    cues,
    speech_probability,
    speech_spans,
)
from affetto.learn.export.sounds import (
    SOUNDS,
    Array,
    Rng,
    Sound,
    clicks,
    drums,
    gated,
    harmonics,
    in_noise,
    noise,
    notes,
    seconds,
    tune,
    wobble,
)
from affetto.media import decode_audio

RATE = 16_000
RESERVED = {
    "ravdess": {"15", "16"},
    "nemo": {"SM0", "KD0"},
    "emodb": {"15", "16"},
    "fsdd": {"theo", "yweweler"},
}
EDGE = 0.05  # seconds around a marked edge that are not judged
FALSE_ALARM_COST = 4.0  # of a sound taken for a voice, against a voice not heard

Spans = list[tuple[float, float]]


# --- sounds that are no speech ------------------------------------------------------------------------------


def string(f0: float, n: int, rng: Rng) -> Array:
    """A plucked string (Karplus & Strong 1983)."""
    period = max(int(RATE / f0), 2)
    row = rng.uniform(-1, 1, period)
    rows = []
    for _ in range(-(-n // period)):
        rows.append(row)
        row = 0.498 * (row + np.roll(row, 1))
    return np.concatenate(rows)[:n] * 3


def sung_tune(n: int, rng: Rng) -> Array:
    """Notes with vibrato, each gliding from the one before."""
    depth, previous = rng.uniform(0.003, 0.03), [200.0]

    def play(f0: float, length: int) -> Array:
        glide = np.exp(-seconds(length) / 0.03)
        track = f0 * (previous[0] / f0) ** glide * (1 + depth * np.sin(2 * np.pi * 5.5 * seconds(length)))
        previous[0] = f0
        return harmonics(track, length, rng, "saw")

    return notes(n, rng, 1, play)


def bells(n: int, rng: Rng) -> Array:
    def play(f0: float, length: int) -> Array:
        angle = 2 * np.pi * f0 * seconds(length)
        return np.sin(angle + 3 * np.exp(-4 * seconds(length)) * np.sin(1.41 * angle))

    return notes(n, rng, 1, play)


def band(n: int, rng: Rng) -> Array:
    return tune(n, rng) + 0.7 * tune(n, rng, 3) + rng.uniform(0.3, 1.5) * drums(n, rng)


def keypad(n: int, rng: Rng) -> Array:
    samples = np.zeros(n)
    for at in range(0, n - 3200, 3200):
        low, high = rng.choice([697, 770, 852, 941]), rng.choice([1209, 1336, 1477])
        t = seconds(1600)
        samples[at : at + 1600] = np.sin(2 * np.pi * low * t) + np.sin(2 * np.pi * high * t)
    return samples


def engine(n: int, rng: Rng) -> Array:
    speed = rng.uniform(60, 150) * 2 ** (0.5 * np.interp(seconds(n), np.arange(8), rng.uniform(-1, 1, 8)))
    return harmonics(speed, n, rng, "saw") + 0.3 * noise(n, rng, 1)


def birds(n: int, rng: Rng) -> Array:
    samples = np.zeros(n)
    for at in rng.integers(0, max(n - 2400, 1), n // 4000):
        rise = np.linspace(rng.uniform(1500, 3000), rng.uniform(2000, 4500), min(2400, n - at))
        samples[at : at + len(rise)] += harmonics(rise, len(rise), rng, "sine") * np.hanning(len(rise))
    return samples


#: What the detector was fitted on.
FITTED_SOUNDS: Mapping[str, Sound] = {
    name: SOUNDS[name]
    for name in (
        "white, pink, brown",
        "throbbing noise",
        "bursts of noise",
        "tone",
        "sweep",
        "hum",
        "tune",
        "chords",
        "drums",
        "clicks",
    )
}
MEASURED_SOUNDS: Mapping[str, Sound] = {
    "white noise": noise,
    "pink noise": lambda n, rng: noise(n, rng, 1),
    "wind": lambda n, rng: noise(n, rng, 2) * wobble(n, rng, 0.1, 1) ** 2,
    "rain": lambda n, rng: clicks(n, rng, rng.uniform(50, 500)),
    "room, -70 dB": lambda n, rng: 10**-3.5 * noise(n, rng, 1),
    "steady tone": lambda n, rng: harmonics(rng.uniform(80, 2000), n, rng),
    "beeps": lambda n, rng: gated(harmonics(rng.uniform(100, 2000), n, rng), rng),
    "keypad": keypad,
    "siren": lambda n, rng: harmonics(
        700 * 2 ** (0.4 * np.sign(np.sin(2 * np.pi * seconds(n)))), n, rng, "saw"
    ),
    "engine": engine,
    "birds": birds,
    "sung tune": sung_tune,
    "strings": lambda n, rng: notes(n, rng, 2, lambda f0, length: string(f0, length, rng)),
    "bells": bells,
    "band": band,
}


def sounds(kinds: Mapping[str, Sound], each: int, rng: Rng) -> Iterator[tuple[str, Array]]:
    for name, make in kinds.items():
        for _ in range(each):
            samples = make(int(rng.choice([1.5, 3, 6]) * RATE), rng)
            if not name.startswith("room"):
                samples = samples / np.abs(samples).max() * 10 ** (rng.uniform(-30, -1) / 20)
                if rng.random() < 0.5:
                    samples = in_noise(samples, rng.choice([10, 15, 20, 30]), rng)
            yield name, np.clip(samples, -1, 1).astype(np.float32)


# --- speech -------------------------------------------------------------------------------------------------


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def speech(data: Path, corpus: str, count: int, *, reserved: bool, rng: Rng) -> Iterator[Array]:
    """Waveforms of a corpus, drawn at random; of the reserved people only, or of all the others."""
    kept = RESERVED.get(corpus, set())
    wanted = reserved and bool(kept)
    table = [row for row in rows(data / corpus / "manifest.csv") if (row["speaker"] in kept) == wanted]
    for place in rng.permutation(len(table))[:count]:
        yield decode_audio(data / corpus / table[place]["path"])


def grid(data: Path) -> Iterator[tuple[Array, Spans]]:
    """Clips of 3 s and where their words are."""
    words = defaultdict(list)
    for row in rows(data / "grid_av" / "words.csv"):
        if row["word"] not in ("sil", "sp"):
            words[row["id"]].append((float(row["start_s"]), float(row["end_s"])))
    for name, spans in words.items():
        yield decode_audio(data / "grid_av" / "audio" / f"{name}.flac"), spans


def emodb(data: Path, count: int, *, reserved: bool, rng: Rng) -> Iterator[Array]:
    """Sentences cut at their first and last syllable."""
    syllables = defaultdict(list)
    for row in rows(data / "emodb" / "syllables.csv"):
        syllables[row["id"]].append(row)
    manifest = rows(data / "emodb" / "manifest.csv")
    whole = [row for row in manifest if row["truncated"] == "0" and len(syllables[row["id"]]) > 1]
    table = [row for row in whole if (row["speaker"] in RESERVED["emodb"]) == reserved]
    for place in rng.permutation(len(table))[:count]:
        row = table[place]
        marks = [float(mark["start_s"]) for mark in syllables[row["id"]]]
        samples = decode_audio(data / "emodb" / row["path"])
        yield samples[int(marks[0] * RATE) : int(marks[-1] * RATE)]


def in_a_room(samples: Array, snr: float, rng: Rng) -> tuple[Array, Spans]:
    """Speech with half a second to a second of the same noise before and after it."""
    before, after = (int(rng.uniform(0.5, 1) * RATE) for _ in range(2))
    padded = in_noise(np.pad(samples, (before, after)), snr, rng) * 10 ** (rng.uniform(-25, 0) / 20)
    return np.clip(padded, -1, 1).astype(np.float32), [(before / RATE, (before + len(samples)) / RATE)]


def frame_labels(count: int, spans: Spans) -> tuple[Array, Array]:
    """Whether each frame is speech, and whether it is far enough from an edge to be judged."""
    times = np.arange(count) / FRAME_RATE + FIRST_FRAME
    inside = np.zeros(count, bool)
    judged = np.ones(count, bool)
    for start, end in spans:
        inside |= (times >= start) & (times < end)
        for edge in (start, end):
            judged &= np.abs(times - edge) > EDGE
    return inside, judged


# --- fitting ------------------------------------------------------------------------------------------------


def logistic_regression(positive: list[Array], negative: list[Array], cost: float) -> tuple[Array, float]:
    """Weights and bias by Newton's method; the negative class weighs `cost` times the positive."""
    features = np.concatenate([*positive, *negative])
    truth = np.repeat([True, False], [sum(map(len, positive)), sum(map(len, negative))])
    weight = np.where(truth, 1 / truth.sum(), cost / (~truth).sum())
    mean, scale = features.mean(axis=0), features.std(axis=0)
    design = np.column_stack([(features - mean) / scale, np.ones(len(features))])
    solution = np.zeros(design.shape[1])
    for _ in range(30):
        said = 1 / (1 + np.exp(-design @ solution))
        slope = design.T @ (weight * (said - truth))
        curve = (design * (weight * said * (1 - said))[:, None]).T @ design + 1e-6 * np.eye(len(solution))
        solution -= np.linalg.solve(curve, slope)
    weights = solution[:-1] / scale
    return weights, float(solution[-1] - weights @ mean)


def fit(data: Path, rng: Rng) -> None:
    inner, outer, voices, others = [], [], [], []
    for samples in emodb(data, 100, reserved=False, rng=rng):
        padded, spans = in_a_room(samples, rng.choice([55, 40, 30, 20, 10, 5]), rng)
        found = cues(padded)
        inside, judged = frame_labels(len(found), spans)
        inner.append(found[judged & inside, :1])
        outer.append(found[judged & ~inside, :1])
        voices.append(found[judged & inside & (found[:, 0] > 0), 1:])
    for corpus, count in (("ravdess", 80), ("nemo", 80), ("fsdd", 400)):
        for samples in speech(data, corpus, count, reserved=False, rng=rng):
            found = cues(in_noise(samples, rng.choice([60, 30, 20, 10, 5]), rng).astype(np.float32))
            voices.append(found[found[:, 0] > 5, 1:])
    for _, samples in sounds(FITTED_SOUNDS, 80, rng):
        found = cues(samples)
        others.append(found[found[:, 0] > 0, 1:])
    weights, bias = logistic_regression(inner, outer, 1.0)
    print(f"sound: {weights[0]:.3f} per dB, bias {bias:.2f}")
    weights, bias = logistic_regression(voices, others, FALSE_ALARM_COST)
    print(f"voice: {', '.join(f'{weight:.2f}' for weight in weights)}, bias {bias:.2f}")


# --- measuring ----------------------------------------------------------------------------------------------


def covered(spans: tuple[tuple[float, float], ...], count: int) -> Array:
    return frame_labels(count, list(spans))[0]


def by_frame(name: str, clips: Iterator[tuple[Array, Spans]]) -> None:
    missed, alarms, starts, ends = [], [], [], []
    for samples, truth in clips:
        probability = speech_probability(samples)
        spans = speech_spans(probability)
        inside, judged = frame_labels(len(probability), truth)
        said = covered(spans, len(probability))
        missed.extend(~said[judged & inside])
        alarms.extend(said[judged & ~inside])
        if spans:
            starts.append(spans[0][0] - truth[0][0])
            ends.append(spans[-1][1] - truth[-1][1])
    print(
        f"{name:28} missed {np.mean(missed):6.1%}   false alarms {np.mean(alarms):6.1%}   "
        f"start {1000 * np.median(starts):+.0f} ms, end {1000 * np.median(ends):+.0f} ms (medians)"
    )


def by_clip(name: str, clips: Iterator[Array]) -> None:
    heard, share = [], []
    for samples in clips:
        probability = speech_probability(samples)
        said = covered(speech_spans(probability), len(probability))
        heard.append(said.any())
        share.append(said.mean())
    print(
        f"{name:28} {np.sum(heard):4d} of {len(heard):4d} clips hold speech; {np.mean(share):6.1%} of their time"
    )


def measure(data: Path, rng: Rng) -> None:
    print("Speech with marked edges, by frame")
    by_frame("GRID", grid(data))
    for snr in (40, 20, 10, 5):
        clips = (in_a_room(samples, snr, rng) for samples in emodb(data, 80, reserved=True, rng=rng))
        by_frame(f"EmoDB, noise at {snr} dB", clips)
    print("\nSpeech, by clip")
    for corpus in ("ravdess", "nemo", "emodb", "fsdd"):
        by_clip(corpus, speech(data, corpus, 120, reserved=True, rng=rng))
    print("\nOther sounds, by clip")
    clips = defaultdict(list)
    for name, samples in sounds(MEASURED_SOUNDS, 40, rng):
        clips[name].append(samples)
    for name, group in clips.items():
        by_clip(name, iter(group))
    by_clip("all", (samples for group in clips.values() for samples in group))
    minute = np.concatenate([samples for group in clips.values() for samples in group])[: 60 * RATE]
    print("\nTime of one core for a second, the least of ten")
    print(f"whole                        {cost(speech_probability, minute):.2f} ms")
    for chunk in (0.02, 1.0, 10.0):
        print(
            f"in chunks of {chunk:5.2f} s         {cost(lambda it, n=chunk: streamed(it, n), minute):.2f} ms"
        )


def streamed(samples: Array, chunk: float) -> None:
    stream = ActivityStream()
    for start in range(0, len(samples), int(chunk * RATE)):
        stream.feed(samples[start : start + int(chunk * RATE)])
    stream.finish()


def cost(work: Callable[[Array], object], samples: Array) -> float:
    """Milliseconds of processor time for each second of sound. The least, for other processes only add to it."""
    times = []
    for _ in range(10):
        began = time.process_time()
        work(samples)
        times.append(time.process_time() - began)
    return 1000 * min(times) / (len(samples) / RATE)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fit", action="store_true")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    (fit if arguments.fit else measure)(arguments.data, rng)


if __name__ == "__main__":
    main()
