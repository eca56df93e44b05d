"""Measure `affetto serve` against the bare predictor, under overload, against bombs, and over many requests.

    python benchmarks/serving.py                            start, cost, overload, bombs: some four minutes
    python benchmarks/serving.py --only cost,bombs          parts of it
    python benchmarks/serving.py --only growth              20,000 requests
    python benchmarks/serving.py --only streams,fairness    live streams; clients that take turns
    python benchmarks/serving.py --only sustained --minutes 30

Ratios are medians of interleaved rounds in one run, so that a busy machine slows both sides. Traffic goes to
127.0.0.1 only. What sends load is in `parts/serving_load.py`.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

ROOT = Path(__file__).parents[1]
# This folder holds a `serving` too.
sys.path[:1] = [str(ROOT / folder) for folder in ("src", "tests", "benchmarks/parts")]

from serving_load import TEXT, clip, fairness, family, overload, streams, sustained  # noqa: E402

from serving.bad_inputs import png  # noqa: E402
from serving.running import cpu, form, memory, peak, serving  # noqa: E402

ROUNDS, PER_ROUND = 15, 12
FEWEST_ROUNDS, MOST_TAKEN = 5, 0.06  # rounds that count; share of the processor that others may take


def main() -> None:
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "start": start, "cost": cost, "overload": overload, "bombs": bombs, "growth": growth,
        "streams": streams, "fairness": fairness, "sustained": lambda: sustained(60 * options.minutes),
    }  # fmt: skip
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="start,cost,overload,bombs")
    parser.add_argument("--minutes", type=float, default=30.0, help="of `sustained`")
    options = parser.parse_args()
    for name in options.only.split(","):
        print(json.dumps({name: parts[name]()}, indent=2), flush=True)


# --- start ---


def start() -> dict[str, Any]:
    """Seconds until ready and MiB per process; whether torch was loaded."""
    seconds, sizes, torch = [], {}, False
    for _ in range(5):
        began = time.monotonic()
        with serving() as server:
            seconds.append(time.monotonic() - began)
            server.predict(audio_file=clip(), text=TEXT)
            pids = dict(zip(("server", "worker", "decoder"), family(server), strict=True))
            sizes = {name: round(memory(pid), 1) for name, pid in pids.items()}
            torch = torch or any("torch" in Path(f"/proc/{pid}/maps").read_text() for pid in pids.values())
    imports = statistics.median(_command_seconds() for _ in range(3))
    return {
        "seconds_to_ready": round(statistics.median(seconds), 2),
        "fastest": round(min(seconds), 2),
        "seconds_of_affetto_version": round(imports, 2),
        "MiB": sizes,
        "torch_loaded": torch,
    }


def _command_seconds() -> float:
    began = time.monotonic()
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run(
        [sys.executable, "-m", "affetto", "--version"], env=env, stdout=subprocess.DEVNULL, check=True
    )
    return time.monotonic() - began


# --- cost ---


def cost() -> dict[str, Any]:
    """CPU and latency of a request, over the bare predictor loop (decoding in the same process).

    The server and the bare loop have one core in turn, the client has another. A round during which others take
    more than `MOST_TAKEN` of the processor is dropped.
    """
    import affetto

    data, model = clip(), affetto.load()
    body, headers = form(audio_file=data, text=TEXT)
    measured, other = sorted(os.sched_getaffinity(0))[:2]

    def bare() -> None:
        json.dumps(model.predict(speech=data, text=TEXT).to_dict())

    with serving() as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)

        def served() -> None:
            connection.request("POST", "/predict", body, headers)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            response.read()

        for _ in range(10):
            bare()
            served()
        pids = family(server)
        for pid in pids:
            _pin(pid, measured)
        rounds: list[tuple[float, float, list[float], list[float]]] = []
        for _ in range(ROUNDS):
            taken = _taken_by_others(pids)
            _pin(os.getpid(), measured)
            bare_cpu, bare_ms = _round(bare, [os.getpid()])
            _pin(os.getpid(), other)
            served_cpu, served_ms = _round(served, pids)
            if taken() <= MOST_TAKEN:
                rounds.append((bare_cpu, served_cpu, bare_ms, served_ms))
        os.sched_setaffinity(0, {measured, other})
        connection.close()
    return _ratios(rounds)


def _ratios(rounds: list[tuple[float, float, list[float], list[float]]]) -> dict[str, Any]:
    """Medians over the rounds that were not disturbed, if enough are left."""
    if len(rounds) < FEWEST_ROUNDS:
        return {"rounds": len(rounds), "no result": "others took too much of the processor"}
    bare_ms, served_ms = (np.concatenate([row[at] for row in rounds]) for at in (2, 3))
    p50 = [float(np.median(times)) for times in (bare_ms, served_ms)]
    return {
        "cpu_ms_bare": round(statistics.median(row[0] for row in rounds), 2),
        "cpu_ms_served": round(statistics.median(row[1] for row in rounds), 2),
        "cpu_ratio": round(statistics.median(row[1] / row[0] for row in rounds), 2),
        "p50_ratio": round(statistics.median(np.median(row[3]) / np.median(row[2]) for row in rounds), 2),
        "p99_ratio": round(float(np.percentile(served_ms, 99) / np.percentile(bare_ms, 99)), 2),
        "p50_ms": [round(ms, 1) for ms in p50],
        "rounds": len(rounds),
        "requests": len(rounds) * PER_ROUND,
    }


def _round(work: Callable[[], None], pids: list[int]) -> tuple[float, list[float]]:
    """CPU milliseconds of some processes per call, and the wall-clock milliseconds of each call."""
    before, times = sum(map(_cpu_ms, pids)), []
    for _ in range(PER_ROUND):
        began = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - began))
    return (sum(map(_cpu_ms, pids)) - before) / PER_ROUND, times


def _cpu_ms(pid: int) -> float:
    """Milliseconds of processor time of all threads, to the nanosecond: `cpu` counts hundredths of a second."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def _taken_by_others(pids: list[int]) -> Callable[[], float]:
    """From now on until it is called: the share of the machine's processor time that went to others."""

    def now() -> tuple[float, float, float]:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        seconds = [value / os.sysconf("SC_CLK_TCK") for value in ticks]
        own = sum(map(_cpu_ms, [os.getpid(), *pids])) / 1000
        return sum(seconds), sum(seconds) - seconds[3] - seconds[4], own

    first = now()

    def share() -> float:
        whole, busy, own = (later - earlier for later, earlier in zip(now(), first, strict=True))
        return (busy - own) / whole

    return share


def _pin(pid: int, core: int) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


# --- bombs ---


def bombs() -> dict[str, Any]:
    """Extra MiB at the peak and CPU-seconds that each bomb costs, of each process and of all."""
    found = {}
    for name, fields in _bombs().items():
        with serving() as server:
            server.predict(audio_file=clip(), text=TEXT)
            pids = family(server)
            before = {pid: (peak(pid), cpu(pid)) for pid in pids}
            body, headers = fields() if callable(fields) else form(**fields)
            answer = server.ask("POST", "/predict", body, headers)
            left = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
            found[name] = {
                "bytes": len(body),
                "code": answer.code,
                "MiB": [round(peak(pid) - before[pid][0], 1) for pid in left],
                "cpu_s": round(sum(cpu(pid) - before[pid][1] for pid in left), 2),
            }
    return found


def _bombs() -> dict[str, Any]:
    def flac(seconds: int) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, np.zeros(16_000 * seconds, np.int16), 16_000, format="FLAC")
        return file.getvalue()

    def opus() -> bytes:
        import av

        file = io.BytesIO()
        rng = np.random.default_rng(0)
        with av.open(file, "w", format="ogg") as container:
            stream = container.add_stream("libopus", rate=48_000, layout="mono")
            stream.bit_rate = 256_000
            for at in range(850):
                noise = rng.integers(-9000, 9000, (1, 48_000), dtype=np.int16)
                frame = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
                frame.sample_rate, frame.pts = 48_000, 48_000 * at
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return file.getvalue()

    lie = bytearray(clip())
    lie[40:44] = (2**31 - 2**17).to_bytes(4, "little")

    def compressed() -> tuple[bytes, dict[str, str]]:
        import gzip

        return gzip.compress(bytes(100 * 2**20)), {**form(text="a")[1], "Content-Encoding": "gzip"}

    return {
        "FLAC of 10 minutes of silence": {"audio_file": flac(600)},
        "FLAC within the limit": {"audio_file": flac(290)},
        "PNG of 169 megapixels": {"image_file": png(13_000, 13_000, 1, 0, bytes(13_000 * 1626))},
        "Opus of 25 MB": {"audio_file": opus()},
        "WAV header that lies": {"audio_file": bytes(lie)},
        "gzip of 100 MB": compressed,
    }


# --- growth ---


def growth(last: int = 20_000) -> dict[str, Any]:
    """MiB, files and threads of each process at request 2,000 and at the last, of mixed requests."""
    rng = np.random.default_rng(0)
    whole, noise = clip(14.0), bytes(rng.integers(0, 255, 5000, dtype=np.uint8))
    early: list[dict[str, int | float]] = []
    with serving() as server:
        for number in range(1, last + 1):
            draw = rng.random()
            if draw < 0.6:
                server.ask("POST", f"/predict?text=request+{number}")
            elif draw < 0.93:
                server.predict(audio_file=clip(float(rng.uniform(0.3, 2.0))), text=TEXT)
            elif draw < 0.95:
                server.predict(audio_file=whole, timeline="true")
            elif draw < 0.98:
                server.predict(audio_file=noise)
            else:
                connection = server.connect()
                connection.sendall(
                    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nab"
                )
                connection.close()
            if number == 2000:
                early = [_state(pid) for pid in family(server)]
        late = [_state(pid) for pid in family(server)]
    return {"requests": last, "at 2,000": early, "at the end": late}


def _state(pid: int) -> dict[str, int | float]:
    count = lambda folder: len(list(Path(f"/proc/{pid}/{folder}").iterdir()))  # noqa: E731
    return {"MiB": round(memory(pid), 1), "files": count("fd"), "threads": count("task")}


if __name__ == "__main__":
    main()
