"""Faces in pictures that show more than a face: found by OpenCV (the `[video]` extra), followed over time.

    finder = FaceFinder()
    for seconds, pixels in track_face(worker.iter_frames("call.mp4", every=0.2), finder.faces, size=48):
        ...  # pixels: float32 [3 48 48], or None while no face is seen

Finding is OpenCV's and can be replaced by anything that makes `Box`es of a picture; following is pure.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affetto.errors import ConfigError
from affetto.features.faces import face_crop

# A larger picture is searched at this size: the smallest face found is then a fifteenth of its longer side.
_SEARCHED_SIDE = 480
_SMALLEST_FACE = 32
_SCALE_STEP = 1.1
_NEIGHBOURS = 4

# Of one face between two pictures: how far its centre moves (in sides, at once and in each second more) and
# how much its side changes.
_NEAR, _SPEED, _FARTHEST = 0.4, 1.0, 1.0
_GROWTH = 1.5
# Not found for so long, its place is shown no more (a hand before the mouth takes less); for so long, it is
# forgotten, and who comes back is somebody new.
_SHOWN_SECONDS, _KNOWN_SECONDS = 0.5, 2.0
_CLOCK_ERROR = 1e-6
# Boxes tremble by some hundredths of their side from one picture to the next.
_SMOOTH_SECONDS = 0.15
# Two people of much the same weight do not take turns.
_PREFERRED = 1.5


@dataclass(frozen=True, slots=True)
class Box:
    """A square in a picture: its centre (from left, from top) and its side, in pixels."""

    x: float
    y: float
    side: float


class FaceFinder:
    """Viola and Jones's cascade for upright faces that look at the camera (P. Viola, M. Jones, "Rapid object
    detection using a boosted cascade of simple features", CVPR 2001; the weights are OpenCV's, by R. Lienhart).

    Opens it once. Not for two threads at a time. Raises ConfigError `extra_missing` without OpenCV, or with one
    that brings no cascades.
    """

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError:
            raise ConfigError(
                "extra_missing", 'faces are found by OpenCV: pip install "affetto[video]"'
            ) from None
        folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
        path = os.path.join(folder, "haarcascade_frontalface_alt2.xml")
        if not (hasattr(cv2, "CascadeClassifier") and os.path.exists(path)):
            raise ConfigError(
                "extra_missing",
                f'OpenCV {cv2.__version__} brings no face cascades: pip install "opencv-python-headless<5"',
            )
        self._cascade = cv2.CascadeClassifier(path)

    def faces(self, image: np.ndarray) -> tuple[Box, ...]:
        """The faces of a picture, uint8 RGB [H W 3], largest first. A box reaches from the hair to the chin and
        from ear to ear, as the crops do that the models learn from. Of a picture of more than 480 pixels a
        face must take up a fifteenth of the longer side, of a smaller one 32 pixels."""
        import cv2

        grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
        scale = min(1.0, _SEARCHED_SIDE / max(grey.shape))
        if scale < 1:
            size = (max(round(grey.shape[1] * scale), 1), max(round(grey.shape[0] * scale), 1))
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        found = self._cascade.detectMultiScale(
            grey, _SCALE_STEP, _NEIGHBOURS, minSize=(_SMALLEST_FACE, _SMALLEST_FACE)
        )
        boxes = [
            Box((x + width / 2) / scale, (y + width / 2) / scale, width / scale)
            for x, y, width, _ in np.asarray(found, dtype=float).reshape(-1, 4).tolist()
        ]
        return tuple(sorted(boxes, key=lambda box: -box.side))


#: The faces of a picture, uint8 RGB [H W 3]: `FaceFinder.faces`, or what stands in for it.
FindFaces = Callable[[np.ndarray], Sequence[Box]]


def find_face(image: np.ndarray, faces: FindFaces) -> Box | None:
    """The largest face of a picture, uint8 RGB [H W 3]; None where none is found.

    The cascade wants to see a little of what is around a face: in tight crops it finds 60 % (FER+, enlarged), so
    None may also mean that the picture is a crop already.
    """
    return max(faces(image), key=lambda box: box.side, default=None)


def crop_face(image: np.ndarray, box: Box, size: int) -> NDArray[np.float32]:
    """The pixels of a box, float32 [3 size size] in [0, 1], made as `features.faces.face_crop` makes them.

    image: uint8 RGB [H W 3]. Where the box leaves the picture, the picture's edge is repeated. A box is cut out
    as it is: of 500 FER+ faces, padded, the finder's boxes have 0.97 times the side of the crop that the models
    learn from, and lie within 0.01 sides of its centre (medians; benchmarks/faces.py).
    """
    side = max(round(box.side), 1)
    rows = round(box.y - side / 2) + np.arange(side)
    columns = round(box.x - side / 2) + np.arange(side)
    height, width = image.shape[:2]
    inside = image[np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)]
    return face_crop(inside, size)[0]


def track_face(
    pictures: Iterable[tuple[float, np.ndarray]], faces: FindFaces, size: int
) -> Iterator[tuple[float, NDArray[np.float32] | None]]:
    """Follow one face: for each (time in seconds, uint8 RGB [H W 3]), times ascending, yield the time and the
    face's pixels, float32 [3 size size], or None while no face is in sight. Memory is that of one picture.

    Every face is followed, and the one shown is that which was largest for longest: of those in sight, the one
    whose sides, summed over the pictures in which it was found, are the greatest sum. It gives way when another
    has half as much again, or when it is out of sight, not found for more than 0.5 s; until then its last place
    is shown. After 2 s it is forgotten. A box found continues the nearest track within 0.4 sides (and as much
    more as seconds have passed, up to one side in all) whose side differs by less than half; boxes are smoothed
    over 0.15 s.
    """
    tracks: list[_Track] = []
    shown: _Track | None = None
    for seconds, image in pictures:
        tracks = [track for track in tracks if seconds - track.seen <= _KNOWN_SECONDS + _CLOCK_ERROR]
        for box, track in _assign(faces(image), tracks, seconds):
            if track is None:
                tracks.append(_Track(box, seconds, box.side))
            else:
                track.update(box, seconds)
        in_sight = [track for track in tracks if seconds - track.seen <= _SHOWN_SECONDS + _CLOCK_ERROR]
        best = max(in_sight, key=lambda track: track.weight, default=None)
        if shown not in in_sight or (best and shown and best.weight > _PREFERRED * shown.weight):
            shown = best
        yield seconds, None if shown is None else crop_face(image, shown.box, size)


@dataclass(slots=True, eq=False)
class _Track:
    """A face over time: where it is, when it was found last, and the sum of its sides."""

    box: Box
    seen: float
    weight: float

    def update(self, box: Box, seconds: float) -> None:
        """Move towards the box: all the way after a long time, a little after a short one."""
        new = 1 - math.exp(-(seconds - self.seen) / _SMOOTH_SECONDS)
        old = self.box
        x, y = old.x + new * (box.x - old.x), old.y + new * (box.y - old.y)
        self.box = Box(x, y, old.side + new * (box.side - old.side))
        self.seen, self.weight = seconds, self.weight + box.side

    def distance(self, box: Box, seconds: float) -> float:
        """How far the box is from here, in sides; infinite when it is another face's."""
        far = math.hypot(box.x - self.box.x, box.y - self.box.y) / self.box.side
        reach = min(_NEAR + _SPEED * (seconds - self.seen), _FARTHEST)
        alike = 1 / _GROWTH <= box.side / self.box.side <= _GROWTH
        return far if alike and far <= reach else math.inf


def _assign(
    boxes: Sequence[Box], tracks: Sequence[_Track], seconds: float
) -> list[tuple[Box, _Track | None]]:
    """Each box with the track it continues, nearest pairs first; None begins a track of its own."""
    pairs = [
        (track.distance(box, seconds), i, j) for i, box in enumerate(boxes) for j, track in enumerate(tracks)
    ]
    taken: dict[int, int] = {}
    for distance, i, j in sorted(pairs):
        if math.isfinite(distance) and i not in taken and j not in taken.values():
            taken[i] = j
    return [(box, tracks[taken[i]] if i in taken else None) for i, box in enumerate(boxes)]
