"""Speed of `affetto.features` on one core, as ratios to librosa where librosa can be imported, and of the front
end inside the speech part that ships.

    python benchmarks/features.py

Both compute the same features (the difference is printed) in turns, in rounds; the median of the rounds'
ratios counts. A round in which other processes took more than 6 % of the machine is dropped, and with fewer
than five rounds left there is no result. librosa is no dependency: `pip install librosa` for the comparison.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from affetto.bundle import open_bundle
from affetto.features.prosody import pitch
from affetto.features.spectral import fbank, log_mel, mfcc

ROUNDS, FEWEST = 21, 5
OTHERS = 0.06  # share of the machine's time
SECONDS = (3, 10, 60)
REPEATS = {3: 40, 10: 12, 60: 2}

Feature = Callable[[np.ndarray], np.ndarray]


def main() -> int:
    """Print milliseconds per second of audio, and ratios; 1 when the machine was too busy for any result."""
    waveform = (np.random.default_rng(0).standard_normal(16000 * max(SECONDS)) * 0.1).astype(np.float32)
    pairs = peers()
    print(f"{'feature':8} {'audio':>6} {'ms per s':>9} {'librosa':>9} {'ratio':>6} {'rounds':>7}")
    results = []
    for name, (ours, theirs) in pairs.items():
        for seconds in SECONDS if theirs else SECONDS[:1]:
            results.append(compare(name, ours, theirs, waveform[: 16000 * seconds], seconds))
    if not any(theirs for _, theirs in pairs.values()):
        print("librosa cannot be imported here: no ratios. `pip install librosa` for the comparison.")
    return 0 if any(results) else 1


def peers() -> dict[str, tuple[Feature, Feature | None]]:
    """Each feature, and librosa's way to the same where there is one."""
    alone: dict[str, tuple[Feature, Feature | None]] = {
        "log_mel": (log_mel, None),
        "mfcc": (mfcc, None),
        "fbank": (fbank, None),
        "pitch": (lambda waveform: pitch(waveform)[0], None),
        "in graph": (front_end(), None),
    }
    try:
        import librosa
    except ImportError:
        return alone

    def their_log_mel(waveform: np.ndarray) -> np.ndarray:
        power = librosa.feature.melspectrogram(
            y=waveform, sr=16000, n_fft=400, hop_length=160, center=False, n_mels=64, fmin=20, fmax=8000
        )
        return np.log(power + 1e-6).T

    def their_mfcc(waveform: np.ndarray) -> np.ndarray:
        values = librosa.feature.mfcc(S=their_log_mel(waveform).T, n_mfcc=13)
        parts = [values, librosa.feature.delta(values), librosa.feature.delta(values, order=2)]
        return np.concatenate(parts).T

    return alone | {"log_mel": (log_mel, their_log_mel), "mfcc": (mfcc, their_mfcc)}


def front_end() -> Feature:
    """The log-mel inside the speech part of the default bundle: all that comes before its first weights in int8."""
    model = onnx.load_from_string(open_bundle().read_part("speech", "int8"))
    log_mel = next(node.input[0] for node in model.graph.node if node.op_type == "DynamicQuantizeLinear")
    _keep_what_makes(log_mel, model.graph)
    model.graph.output.append(onnx.helper.make_tensor_value_info(log_mel, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)

    def run(waveform: np.ndarray) -> np.ndarray:
        inputs = {"waveform": waveform[None], "mask": np.ones((1, len(waveform)), bool)}
        return np.asarray(session.run(None, inputs)[0])

    return run


def _keep_what_makes(value: str, graph: onnx.GraphProto) -> None:
    """Drop all other nodes and weights: they would be run, though nobody asks for what they say."""
    needed, kept = {value}, []
    for node in reversed(graph.node):
        if needed & {*node.output}:
            needed |= {*node.input}
            kept.append(node)
    weights = [weight for weight in graph.initializer if weight.name in needed]
    del graph.node[:], graph.initializer[:], graph.output[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(weights)


def compare(name: str, ours: Feature, theirs: Feature | None, waveform: np.ndarray, seconds: int) -> bool:
    """Time both in turns and print one line; False when too few rounds were quiet."""
    functions = [ours] if theirs is None else [ours, theirs]
    answers = [function(waveform) for function in functions]  # also warms caches
    rounds = [timed(functions, waveform, REPEATS[seconds]) for _ in range(ROUNDS)]
    quiet = [times for times, others in rounds if others <= OTHERS]
    line = f"{name:8} {seconds:4} s "
    if len(quiet) < FEWEST:
        print(f"{line} no result: {len(quiet)} of {ROUNDS} rounds were quiet")
        return False
    own = statistics.median(times[0] for times in quiet) / seconds * 1e3
    if theirs is None:
        print(f"{line} {own:8.3f} {'':9} {'':6} {len(quiet):7}")
        return True
    other = statistics.median(times[1] for times in quiet) / seconds * 1e3
    ratio = statistics.median(times[1] / times[0] for times in quiet)
    difference = float(np.abs(answers[0] - answers[1]).max())
    print(f"{line} {own:8.3f} {other:9.3f} {ratio:6.2f} {len(quiet):7}   largest difference {difference:.0e}")
    return True


def timed(functions: list[Feature], waveform: np.ndarray, repeats: int) -> tuple[list[float], float]:
    """Seconds per call of each function, and the share of the machine that other processes took meanwhile."""
    busy, own, began = machine_seconds(), time.process_time(), time.perf_counter()
    times = []
    for function in functions:
        start = time.perf_counter()
        for _ in range(repeats):
            function(waveform)
        times.append((time.perf_counter() - start) / repeats)
    wall = time.perf_counter() - began
    others = machine_seconds() - busy - (time.process_time() - own)
    return times, max(0.0, others) / (wall * (os.cpu_count() or 1))


def machine_seconds() -> float:
    """Processor seconds that all processes have used so far; without /proc, only this one's are known."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return time.process_time()
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    one_core = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    if any(os.environ.get(name) != "1" for name in one_core):
        # Read when the libraries are imported, so this begins again.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **one_core})
    sys.exit(main())
