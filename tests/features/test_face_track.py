"""Following faces that a script places, and finding a drawn one with the real cascade."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from affetto.errors import ConfigError
from affetto.features.face_track import Box, FaceFinder, crop_face, find_face, track_face
from affetto.features.faces import face_crop

VIDEO = Path(__file__).resolve().parents[3] / "shared" / "data" / "grid_av" / "video"


def rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def drawn_face(side: int) -> np.ndarray:
    """Forehead, brows, eyes, nose and mouth in grey ellipses: uint8 [side side 3]."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]

    def spot(light, cx, cy, rx, ry):
        return light * (0.5 - 0.5 * np.tanh(6 * (((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 - 1)))

    grey = 70 + spot(110, 0, 0, 0.8, 1.05) + spot(-60, 0, -1.05, 0.8, 0.35) + spot(30, 0, 0, 0.1, 0.3)
    for cx in (-0.38, 0.38):
        grey += spot(-70, cx, -0.25, 0.2, 0.1) + spot(-40, cx, -0.42, 0.25, 0.06)
    grey += spot(-25, 0, 0.22, 0.18, 0.06) + spot(-60, 0, 0.55, 0.35, 0.1)
    return rgb(grey + np.random.default_rng(0).normal(0, 4, grey.shape))


def picture(*faces: Box, height: int = 240, width: int = 320) -> np.ndarray:
    """Drawn faces before a grey wall."""
    image = np.full((height, width, 3), 110, np.uint8)
    for box in faces:
        face = drawn_face(int(box.side))
        top, left = round(box.y - box.side / 2), round(box.x - box.side / 2)
        image[top : top + len(face), left : left + len(face)] = face
    return image


# --- following, with faces where a script puts them ---

PLACES = np.tile(np.arange(250, dtype=np.uint8)[None, :, None], (100, 1, 3))  # grey = how far from the left


def followed(script: list[list[Box]], step: float = 0.1) -> list[float | None]:
    """How far from the left, on average, what was shown lies; one script line for each picture."""
    lines = iter(script)
    pictures = ((index * step, PLACES) for index in range(len(script)))
    shown = []
    for index, (seconds, pixels) in enumerate(track_face(pictures, lambda image: next(lines), 8)):
        assert seconds == index * step
        assert pixels is None or (pixels.shape, pixels.dtype) == ((3, 8, 8), np.float32)
        shown.append(None if pixels is None else float(pixels.mean() * 255))
    return shown


def test_no_face_is_a_value():
    assert followed([[], [], []]) == [None, None, None]
    assert list(track_face([], lambda image: [], 8)) == []


def test_a_face_is_shown_from_its_first_picture_on():
    assert followed([[], [Box(100, 50, 20)], [Box(100, 50, 20)]]) == [None, *[pytest.approx(100, abs=1)] * 2]


def test_a_lost_face_keeps_its_place_for_half_a_second():
    here = [Box(100, 50, 20)]
    shown = followed([here, here, *[[]] * 8, here])
    assert [place is not None for place in shown] == [True] * 7 + [False] * 3 + [True]


def test_a_trembling_box_is_smoothed_and_a_moving_one_followed():
    rng = np.random.default_rng(0)
    trembling = 100 + rng.normal(0, 3, 200)
    shown = followed([[Box(x, 50, 40)] for x in trembling], step=0.04)
    assert np.std(shown[20:]) < 0.5 * np.std(trembling)
    moving = np.linspace(50, 200, 50)  # a side and a half in a second, at 25 a second
    assert np.abs(np.array(followed([[Box(x, 50, 50)] for x in moving], step=0.04)) - moving).max() < 15
    seldom = followed([[Box(100, 50, 40)], [Box(130, 50, 40)]], step=1.0)
    assert seldom[1] == pytest.approx(130, abs=1)  # after a second, what was is no longer believed


def test_the_larger_face_is_shown():
    for order in (1, -1):
        both = [Box(60, 50, 20), Box(180, 50, 40)][::order]
        assert followed([both] * 5) == [pytest.approx(180, abs=1)] * 5


def test_the_one_who_was_there_for_longer_stays():
    first, second = Box(60, 50, 30), Box(180, 50, 36)
    shown = followed([[first]] * 10 + [[first, second]] * 15)
    assert shown == [pytest.approx(60, abs=1)] * 25
    away = followed([[first]] * 10 + [[second]] * 10 + [[first, second]] * 2)
    assert away[14] == pytest.approx(60, abs=1)
    assert away[16] == pytest.approx(180, abs=1)  # the first is out of sight


def test_two_of_the_same_weight_do_not_take_turns():
    rng = np.random.default_rng(1)
    sides = 40 + rng.normal(0, 3, (100, 2))
    shown = followed([[Box(60, 50, a), Box(180, 50, b)] for a, b in sides])
    assert len({round(place / 60) for place in shown}) == 1


def test_who_grows_to_half_as_much_again_takes_over():
    shown = followed([[Box(60, 50, 30)]] * 4 + [[Box(60, 50, 30), Box(180, 50, 90)]] * 20)
    taken = [place > 120 for place in shown]
    # 4 x 30 + n x 30 against n x 90: half as much again from n = 4 on
    assert taken == [False] * 8 + [True] * 16 or taken == [False] * 7 + [True] * 17


def test_faces_that_pass_keep_who_they_are():
    """Each box goes to the nearest track, whatever the order of the boxes."""
    script = []
    for index in range(20):
        pair = [Box(50 + index, 30, 30), Box(150 - index, 70, 20)]
        script.append(pair if index % 2 else pair[::-1])
    assert np.abs(np.array(followed(script)) - (50 + np.arange(20))).max() < 4


def test_a_box_of_another_size_is_somebody_else():
    """A false alarm within a face does not move it."""
    face, speck = Box(100, 50, 60), Box(115, 60, 20)
    assert followed([[face]] * 3 + [[speck]] * 3) == [pytest.approx(100, abs=1)] * 6


def test_memory_does_not_grow(monkeypatch):
    """Nothing is kept of faces that are gone."""
    import affetto.features.face_track as module

    most, assign = [0], module._assign

    def counting(boxes, tracks, seconds):
        most[0] = max(most[0], len(tracks))
        return assign(boxes, tracks, seconds)

    monkeypatch.setattr(module, "_assign", counting)
    rng = np.random.default_rng(0)
    followed([[Box(*rng.uniform(0, 100, 2), rng.uniform(5, 50))] for _ in range(500)])
    assert most[0] <= 21


# --- cutting out ---


def test_a_box_is_cut_out_as_a_crop_is():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    expected, _ = face_crop(image[10:40, 25:55], 12)
    np.testing.assert_array_equal(crop_face(image, Box(40, 25, 30), 12), expected)


def test_beyond_the_picture_its_edge_goes_on():
    image = rgb(np.tile(np.arange(40) * 6.0, (40, 1)))
    pixels = crop_face(image, Box(0, 20, 20), 20)
    np.testing.assert_allclose(pixels[0, 5] * 255, [0] * 10 + [6 * step for step in range(10)], atol=1e-4)
    assert crop_face(image, Box(-50, 90, 0.2), 8).shape == (3, 8, 8)


def test_the_largest_face_is_the_face():
    small, large = Box(10, 10, 20), Box(50, 50, 30)
    assert find_face(PLACES, lambda image: [small, large]) == large
    assert find_face(PLACES, lambda image: []) is None


# --- finding ---


@pytest.fixture(scope="module")
def finder():
    pytest.importorskip("cv2")
    return FaceFinder()


def near(box: Box | None, expected: Box) -> bool:
    if box is None:
        return False
    offset = max(abs(box.x - expected.x), abs(box.y - expected.y), abs(box.side - expected.side))
    return offset < 0.1 * expected.side


@pytest.mark.parametrize("side", [40, 96, 200])
def test_a_drawn_face_is_found_where_it_is(finder, side):
    there = Box(170, 115, side)
    assert near(find_face(picture(there), finder.faces), there)


def test_large_pictures_are_searched_small(finder):
    there = Box(1300, 700, 480)
    assert near(find_face(picture(there, height=1500, width=2000), finder.faces), there)


def test_several_faces_come_largest_first(finder):
    boxes = Box(220, 120, 120), Box(70, 120, 80)
    found = finder.faces(picture(*boxes))
    assert len(found) == 2
    assert all(near(box, expected) for box, expected in zip(found, boxes, strict=True))


def test_where_there_is_none(finder):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:200, 0:300]
    for image in (
        rgb(x * 0.8),
        rgb(rng.normal(128, 40, (200, 300))),
        rgb(60 * np.sin(x / 9) * np.cos(y / 7)),
    ):
        assert finder.faces(image) == ()
    assert finder.faces(np.zeros((1, 1, 3), np.uint8)) == ()


def test_a_drawn_face_is_followed(finder):
    places = [Box(80 + 4 * index, 100 + index, 80) for index in range(10)]
    pictures = ((index * 0.1, picture(box)) for index, box in enumerate(places))
    for (_, pixels), box in zip(track_face(pictures, finder.faces, 48), places, strict=True):
        expected = crop_face(picture(box), box, 48)
        assert np.corrcoef(pixels.ravel(), expected.ravel())[0, 1] > 0.75


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match=r"affetto\[video\]") as caught:
        FaceFinder()
    assert caught.value.code == "extra_missing"


def test_without_cascades_the_version_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(__version__="5.0.0"))
    with pytest.raises(ConfigError, match=r"OpenCV 5\.0\.0 .*<5") as caught:
        FaceFinder()
    assert caught.value.code == "extra_missing"


@pytest.mark.skipif(not VIDEO.is_dir(), reason="the real videos are not beside the repository")
def test_real_faces_are_followed(finder):
    pytest.importorskip("av")
    from affetto.media import iter_frames

    for path in sorted(VIDEO.glob("*.mp4"))[:3]:
        shown = [pixels for _, pixels in track_face(iter_frames(path, every=0.2), finder.faces, 48)]
        assert len(shown) == 15
        assert all(pixels is not None for pixels in shown)
