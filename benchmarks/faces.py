"""Face finding: how often, where, and at what cost.

    python benchmarks/faces.py --data PATH

PATH holds the corpora `grid_av` (videos of a speaker before the camera) and `ferplus_faces` (cropped faces, here
padded with their own edge, to see how the finder's box lies to the crops that the models learn from).
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
import zipfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from affetto.features.face_track import Box, FaceFinder, find_face, track_face
from affetto.media import DecodingWorker

FERPLUS_FACES = 500
ENLARGED = 96  # pixels: FER+ faces have 48
PADDING = 48


class Timed:
    """A finder that keeps what it found, and counts its processor time."""

    def __init__(self, finder: FaceFinder) -> None:
        self.finder, self.seconds, self.found = finder, 0.0, list[tuple[Box, ...]]()

    def faces(self, image: np.ndarray) -> tuple[Box, ...]:
        started = time.process_time()
        self.found.append(self.finder.faces(image))
        self.seconds += time.process_time() - started
        return self.found[-1]


def grid(paths: Sequence[Path], every: float) -> None:
    finder = Timed(FaceFinder())
    pictures = shown = 0
    steps: list[float] = []
    started, wall = time.process_time(), time.perf_counter()
    with DecodingWorker() as worker:
        for path in paths:
            begun = len(finder.found)
            for _, pixels in track_face(worker.iter_frames(path, every=every), finder.faces, 48):
                pictures, shown = pictures + 1, shown + (pixels is not None)
            first = [boxes[0] for boxes in finder.found[begun:] if boxes]
            steps += [np.hypot(b.x - a.x, b.y - a.y) / a.side for a, b in pairwise(first)]
    own, wall = time.process_time() - started, time.perf_counter() - wall
    found = sum(bool(boxes) for boxes in finder.found)
    more = sum(len(boxes) > 1 for boxes in finder.found)
    print(
        f"grid_av, {len(paths)} videos every {every:g} s: {pictures} pictures; a face is found in "
        f"{found / pictures:.2%}, several in {more / pictures:.2%}, one is shown in {shown / pictures:.2%}; between "
        f"pictures it moves by {statistics.median(steps):.3f} sides (median); ms per picture: finding "
        f"{1e3 * finder.seconds / pictures:.2f}, all in this process {1e3 * own / pictures:.2f}, "
        f"wall clock {1e3 * wall / pictures:.2f}"
    )


def full_pictures(paths: Sequence[Path]) -> None:
    """The same faces in the middle of a picture of 1280 x 720, as from a telephone or a web camera."""
    finder = Timed(FaceFinder())
    with DecodingWorker() as worker:
        for path in paths:
            for _, image in worker.iter_frames(path, every=1.0):
                large = np.asarray(Image.fromarray(image).resize((400, 500)))
                finder.faces(np.pad(large, ((110, 110), (440, 440), (0, 0)), mode="edge"))
    found = sum(bool(boxes) for boxes in finder.found)
    print(
        f"grid_av within 1280 x 720: {len(finder.found)} pictures, a face is found in "
        f"{found / len(finder.found):.2%}, {1e3 * finder.seconds / len(finder.found):.2f} ms per picture"
    )


def crops(archive: Path) -> Iterator[np.ndarray]:
    with zipfile.ZipFile(archive) as zipped:
        names = sorted(name for name in zipped.namelist() if name.endswith((".jpg", ".png")))
        for name in np.random.default_rng(0).choice(names, FERPLUS_FACES, replace=False):
            image = Image.open(io.BytesIO(zipped.read(str(name)))).convert("RGB")
            yield np.asarray(image.resize((ENLARGED, ENLARGED), Image.Resampling.BILINEAR))


def ferplus(archive: Path) -> None:
    finder = FaceFinder()
    edges = ((PADDING, PADDING), (PADDING, PADDING), (0, 0))
    tight = sum(find_face(crop, finder.faces) is not None for crop in crops(archive))
    found = [find_face(np.pad(crop, edges, mode="edge"), finder.faces) for crop in crops(archive)]
    middle = PADDING + ENLARGED / 2
    boxes = np.array([(b.x - middle, b.y - middle, b.side) for b in found if b]) / ENLARGED
    quantiles = np.percentile(boxes, [10, 50, 90], axis=0).T
    print(
        f"ferplus_faces: {len(found)} crops; a face is found in {tight / len(found):.1%} as they are and in "
        f"{len(boxes) / len(found):.1%} with padding; there, in sides of the crop:"
    )
    for name, (low, median, high) in zip(("right of its centre", "below it", "side"), quantiles, strict=True):
        print(f"  {name}: {median:+.3f} ({low:+.2f} to {high:+.2f}: 80 % of them)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    videos = sorted((data / "grid_av" / "video").glob("*.mp4"))
    grid(videos, 0.5)
    grid(videos[::4], 0.04)
    full_pictures(videos[::6])
    ferplus(data / "ferplus_faces" / "images.zip")


if __name__ == "__main__":
    main()
