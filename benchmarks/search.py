"""A large index: how long it takes to build, how long to ask, and how much it misses.

    python benchmarks/search.py fit --data DIR -o spread.npz
    python benchmarks/search.py run -o my.index --spread spread.npz --rows 1000000

fit: vectors of 256 dimensions of clips of nEMO: mean and standard deviation over time of the 128 outputs of the
shipped speech encoder, at unit length. A mixture is fitted on them: k-means, and the covariance that is left
within the cells, shared.

run: builds an index of so many draws of that mixture, seeded, in a process of its own. It is killed (SIGKILL)
again and again, after 5, 20 and 60 s, then left to finish. Then another process asks 500 more draws one by one
for their top 10; recall is the share of the exact top 10 that is found. Memory is the most that either held.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

WIDTH, CENTRES, QUERIES, TOP = 256, 64, 500, 10
KILLED_AFTER = (5.0, 20.0, 60.0)


def fit(data: Path, output: Path, clips: int) -> None:
    import faiss

    from affetto.bundle import open_bundle
    from affetto.data.manifest import read_manifest
    from affetto.media import decode_audio
    from affetto.predictor.parts import Parts

    parts = Parts(open_bundle(), None, 1)
    found = read_manifest(data / "nemo" / "manifest.csv")
    rows = []
    for clip in np.random.default_rng(0).permutation(np.array(found, object))[:clips]:
        frames = parts.speech(decode_audio(clip.speech)).values[0]
        rows.append(np.concatenate([frames.mean(axis=0), frames.std(axis=0)]))
    vectors = unit(np.array(rows, np.float32))
    cells = faiss.Kmeans(WIDTH, CENTRES, seed=0, niter=20)
    cells.train(vectors)
    nearest = cells.index.search(vectors, 1)[1][:, 0]
    spread = np.cov((vectors - cells.centroids[nearest]).T)
    shares = np.bincount(nearest, minlength=CENTRES) / len(nearest)
    root = np.linalg.cholesky(spread + 1e-9 * np.eye(WIDTH))
    np.savez(output, centres=cells.centroids, root=root.astype(np.float32), shares=shares)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def draw(spread: Path, count: int, seed: int) -> np.ndarray:
    """Rows [count 256] of the mixture."""
    with np.load(spread) as fitted:
        rng = np.random.default_rng(seed)
        centres = fitted["centres"][rng.choice(CENTRES, count, p=fitted["shares"])]
        return unit(centres + rng.standard_normal((count, WIDTH), np.float32) @ fitted["root"].T)


def build(folder: Path, spread: Path, rows: int) -> None:
    """Append what is missing, shard by shard, then sort it into cells; goes on where it was killed."""
    from affetto.search import Entry, Origin, Store, approximate
    from affetto.search.store import CONTENTS, SHARD_ROWS

    began = perf_counter()
    origin = Origin("0" * 64, "drawn", None, "embedding", WIDTH)
    store = Store(folder) if (folder / CONTENTS).exists() else Store.create(folder, origin)
    while len(store) < rows:
        first = len(store)
        count = min(SHARD_ROWS, rows - first)
        entries = [
            Entry(str(row), "speech", f"/clips/{row}.wav", 0.0, 5.0) for row in range(first, first + count)
        ]
        store.append(draw(spread, count, seed=first), entries)
    appended = perf_counter() - began
    approximate.build(store)
    report(appended_s=round(appended, 1), built_s=round(perf_counter() - began, 1))


def ask(folder: Path, spread: Path) -> None:
    from affetto.search import Finder, Store, exact

    began = perf_counter()
    store = Store(folder)
    ids = [int(entry.id) for shard in store.shards for entry in (shard.entry(0), shard.entry(len(shard) - 1))]
    whole = all(last + 1 == first for last, first in zip(ids[1::2], ids[2::2], strict=False))
    finder = Finder(store)
    opened = perf_counter() - began
    queries = draw(spread, QUERIES, seed=2**31)
    finder.find(queries[0], TOP)
    times, answers = [], []
    for query in queries:
        began = perf_counter()
        hits = finder.find(query, TOP)
        times.append(1000 * (perf_counter() - began))
        answers.append({int(hit.entry.id) for hit in hits})
    held = peak()  # before all vectors are read for the exact answers
    began = perf_counter()
    right = [set(exact.nearest(store, query, TOP)[0].tolist()) for query in queries[:100]]
    slow = 1000 * (perf_counter() - began) / 100
    recall = np.mean([len(a & b) / TOP for a, b in zip(answers, right, strict=False)])
    report(
        rows=len(store),
        nothing_lost=whole,
        opened_s=round(opened, 1),
        median_ms=round(float(np.median(times)), 2),
        p95_ms=round(float(np.percentile(times, 95)), 2),
        recall_at_10=round(float(recall), 4),
        exact_ms=round(slow, 1),
        asked_with_mb=held,
        disk_mb=round(sum(path.stat().st_size for path in folder.rglob("*.*")) / 1e6),
    )


def run(folder: Path, spread: Path, rows: int) -> None:
    command = [
        sys.executable,
        __file__,
        "build",
        "-o",
        str(folder),
        "--spread",
        str(spread),
        "--rows",
        str(rows),
    ]
    killed = 0
    for seconds in KILLED_AFTER:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    report(killed=killed, killed_s=sum(KILLED_AFTER[:killed]))
    subprocess.run(command, check=True)
    report(build_mb=peak(resource.RUSAGE_CHILDREN))
    subprocess.run([sys.executable, __file__, "ask", "-o", str(folder), "--spread", str(spread)], check=True)


def peak(who: int = resource.RUSAGE_SELF) -> int:
    return round(resource.getrusage(who).ru_maxrss * 1024 / 1e6)


def report(**figures: float | int | bool) -> None:
    print(json.dumps(figures), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("fit", "run", "build", "ask"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--spread", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--clips", type=int, default=1500)
    given = parser.parse_args()
    if given.verb == "fit":
        fit(given.data, given.output, given.clips)
    elif given.verb == "ask":
        ask(given.output, given.spread)
    else:
        {"run": run, "build": build}[given.verb](given.output, given.spread, given.rows)


if __name__ == "__main__":
    main()
