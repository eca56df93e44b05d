"""Face crops: an image to the pixels that a vision encoder reads.

There is no face finder here: the image is taken as a crop of a face, and `looks_like_face` says whether that
is believable, so that a caller can warn (`face_not_located`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SMALLEST = 24  # pixels: below, no expression can be read
_LONGEST_SIDE = 1.6  # times the shorter side: a crop of a face is nearly square

# Measured on grey levels (0 to 255) of the crop at 24 x 24 pixels; 94 % of real faces keep all bounds.
_GRID = 24
_CONTRAST = 12.0  # at least: standard deviation about the best-fitting plane
_DETAIL = (0.25, 0.62)  # share of it that is finer than 2 x 2 pixels: gradients have less, noise more
_FLAT = 0.3  # at most: share of pixels without a slope; drawings and screenshots have more
_LEVEL = 1.5  # at most: vertical over horizontal slope; horizons and lines of text have more
_LIKENESS = -0.1  # at least: correlation with a sketch of a face


def face_crop(image: np.ndarray, size: int) -> tuple[NDArray[np.float32], bool]:
    """The middle square of an image as grey pixels, and whether it looks like a face.

    image: uint8 RGB [H W 3]. Returns (float32 [3 size size] in [0, 1], looks_like_face). Luma (ITU-R BT.601)
    stands in all three channels: the models learn from grey faces, and colour they never saw would only
    mislead them. Shrinking averages areas, enlarging interpolates linearly; an image that already has the
    size is passed on as it is.

    Raises ValueError when the image is not uint8 [H W 3] or holds no pixel.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"expected a uint8 RGB image [H W 3], got {image.dtype} {list(image.shape)}")
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    grey = Image.fromarray(np.ascontiguousarray(image[top : top + side, left : left + side])).convert("L")
    pixels = np.asarray(_resize(grey, size), dtype=np.float32) / 255
    believable = side >= _SMALLEST and max(height, width) <= _LONGEST_SIDE * side
    return np.repeat(pixels[None], 3, axis=0), believable and looks_like_face(grey)


def looks_like_face(grey: Image.Image) -> bool:
    """A cheap plausibility check of a square grey crop, no face detector.

    Contrast, fine detail, flat areas, level structure, and dark eyes and mouth between brighter forehead,
    nose and cheeks, each within bounds that real faces keep. Measured: 94 % of the 3,579 FER+ validation
    faces pass (48 x 48 pixels, any pose, light and expression). Of white noise, blank images, gradients,
    blobs and handwritten digits none passes; of drawn landscapes 3 %, of screenshots 1 %. Crops of
    photographs of other things (buildings, a flower, a circuit board) pass in half of the cases, clouds of
    1/f noise in two thirds, and so does a person in a wider frame: `True` means "may be", `False` "hardly".
    """
    small = np.asarray(_resize(grey, _GRID), dtype=np.float64)
    contrast = float(np.std(_without_plane(small)))
    if contrast < _CONTRAST:
        return False
    coarse = small.reshape(_GRID // 2, 2, _GRID // 2, 2).mean(axis=(1, 3))
    detail = float(np.std(small - coarse.repeat(2, axis=0).repeat(2, axis=1))) / contrast
    vertical, horizontal = np.gradient(small)
    flat = float(np.mean(np.hypot(vertical, horizontal) < 2))
    level = float(np.abs(vertical).mean() / max(np.abs(horizontal).mean(), 1e-6))
    shape = _without_plane(coarse)
    likeness = float(np.sum(shape * _SKETCH) / max(float(np.linalg.norm(shape)), 1e-9))
    return _DETAIL[0] < detail < _DETAIL[1] and flat < _FLAT and level < _LEVEL and likeness > _LIKENESS


def _resize(grey: Image.Image, size: int) -> Image.Image:
    if grey.width == size:
        return grey
    method = Image.Resampling.BOX if grey.width > size else Image.Resampling.BILINEAR
    return grey.resize((size, size), method)


def _without_plane(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is left when side light, a plane fitted by least squares, is taken off."""
    axis = np.arange(len(grey)) - (len(grey) - 1) / 2
    norm = len(grey) * np.sum(axis**2)
    slope_y, slope_x = np.sum(grey * axis[:, None]) / norm, np.sum(grey * axis) / norm
    return grey - grey.mean() - slope_y * axis[:, None] - slope_x * axis


def _sketch(size: int) -> NDArray[np.float64]:
    """A face in nine soft spots: dark eyes, mouth and lower corners, bright forehead, nose and cheeks.

    Without plane and of unit length, so that its product with an image is a correlation.
    """
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = axis[None, :], axis[:, None]
    spots = (  # weight, centre x, centre y, width, height; -1 to 1 from left to right and top to bottom
        (-1.0, -0.42, -0.3, 0.25, 0.16),
        (-1.0, 0.42, -0.3, 0.25, 0.16),
        (-0.6, 0.0, 0.55, 0.35, 0.15),
        (0.8, 0.0, -0.05, 0.18, 0.35),
        (0.6, -0.5, 0.15, 0.25, 0.25),
        (0.6, 0.5, 0.15, 0.25, 0.25),
        (0.4, 0.0, -0.75, 0.5, 0.2),
        (-0.5, -1.0, 1.0, 0.4, 0.5),
        (-0.5, 1.0, 1.0, 0.4, 0.5),
    )
    face = np.zeros((size, size))
    for weight, cx, cy, sx, sy in spots:
        face += weight * np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)
    shape = _without_plane(face)
    return shape / np.linalg.norm(shape)


_SKETCH = _sketch(_GRID // 2)
