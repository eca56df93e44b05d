"""Face crops: geometry and grey levels by hand, and the plausibility check on drawings and their opposite."""

import numpy as np
import pytest

from affetto.features.faces import face_crop


def rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def drawn_face(size: int = 96, light: float = 0.0, shift: float = 0.0) -> np.ndarray:
    """A head before a dark wall: hair, brows, eyes, nose, mouth, and light from one side."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = axis[None, :] - shift, axis[:, None]

    def ellipse(cx, cy, rx, ry):
        distance = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2
        return 0.5 - 0.5 * np.tanh(6 * (distance - 1))

    grey = 70 + 110 * ellipse(0, 0, 0.8, 1.05) - 60 * ellipse(0, -1.05, 0.8, 0.35)
    for side in (-1, 1):
        grey = (
            grey - 70 * ellipse(0.38 * side, -0.25, 0.2, 0.1) - 40 * ellipse(0.38 * side, -0.42, 0.25, 0.06)
        )
    grey = grey + 30 * ellipse(0, 0.0, 0.1, 0.3) - 25 * ellipse(0, 0.22, 0.18, 0.06)
    grey = grey - 60 * ellipse(0, 0.55, 0.35, 0.1) + light * x
    texture = np.random.default_rng(0).normal(0, 4, (size, size))
    return rgb(grey + texture)


def test_the_middle_square_is_taken():
    image = np.zeros((50, 90, 3), np.uint8)
    image[:, 20:70] = 255
    crop, _ = face_crop(image, 50)
    np.testing.assert_array_equal(crop, np.ones((3, 50, 50), np.float32))
    upright, _ = face_crop(np.ascontiguousarray(image.transpose(1, 0, 2)), 50)
    np.testing.assert_array_equal(upright, crop)


def test_the_right_size_passes_unchanged():
    grey = np.random.default_rng(0).integers(0, 256, (48, 48))
    crop, _ = face_crop(rgb(grey), 48)
    assert crop.dtype == np.float32
    assert crop.shape == (3, 48, 48)
    assert crop.flags.c_contiguous
    np.testing.assert_array_equal(crop * 255, np.broadcast_to(grey, (3, 48, 48)))


def test_shrinking_averages_areas():
    grey = np.random.default_rng(1).integers(0, 256, (96, 96))
    crop, _ = face_crop(rgb(grey), 48)
    expected = grey.reshape(48, 2, 48, 2).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(crop[0], expected, atol=1 / 255)


def test_enlarging_interpolates():
    ramp = np.tile(np.arange(30) * 8, (30, 1))
    crop, _ = face_crop(rgb(ramp), 60)
    assert (np.diff(crop[0, 30]) >= 0).all()
    assert len(np.unique(crop[0, 30])) > 55


def test_colour_becomes_luma():
    for colour, luma in (((255, 0, 0), 0.299), ((0, 255, 0), 0.587), ((0, 0, 255), 0.114)):
        crop, _ = face_crop(np.full((40, 40, 3), colour, np.uint8), 20)
        np.testing.assert_allclose(crop, luma, atol=0.003)


@pytest.mark.parametrize("light", [-40, 0, 40])
@pytest.mark.parametrize("shift", [-0.1, 0.0, 0.1])
@pytest.mark.parametrize("size", [48, 96, 200])
def test_a_drawn_face_looks_like_one(size, light, shift):
    assert face_crop(drawn_face(size, light, shift), 48)[1]


def not_faces() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:64, 0:64] / 63
    hills = np.where(y < 0.5 + 0.1 * np.sin(5 * x), 220 - 60 * y, 60)
    text = np.full((64, 64), 250)
    text[8:60:8, 6:58] = rng.integers(0, 2, (7, 52)) * 250
    digit = np.zeros((64, 64))
    digit[12:52, 30:36] = 255
    face = drawn_face(96)[:, :, 0]
    return {
        "blank": np.full((64, 64), 128),
        "noise": rng.integers(0, 256, (64, 64)),
        "gradient down": 255 * y,
        "gradient aside": 255 * x,
        "blob": 255 * np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.05),
        "landscape": hills + rng.normal(0, 3, (64, 64)),
        "lines of text": text,
        "digit": digit,
        "negative": 255 - face,
        "faint": 128 + (face.astype(float) - 128) * 0.1,
    }


@pytest.mark.parametrize("name", not_faces())
def test_what_is_no_face_does_not(name):
    assert not face_crop(rgb(not_faces()[name]), 48)[1]


def test_a_face_too_small_or_in_a_long_image_is_doubted():
    assert not face_crop(drawn_face(20), 48)[1]
    wide = np.pad(drawn_face(96), ((0, 0), (96, 96), (0, 0)), mode="edge")
    assert not face_crop(wide, 48)[1]


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (3, 2, 3)])
def test_the_smallest_images_are_read(shape):
    crop, believable = face_crop(np.full(shape, 200, np.uint8), 48)
    assert crop.shape == (3, 48, 48)
    np.testing.assert_allclose(crop, 200 / 255, atol=0.005)
    assert not believable


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)]
)
def test_other_arrays_are_refused(image):
    with pytest.raises(ValueError, match="uint8 RGB"):
        face_crop(image, 48)
