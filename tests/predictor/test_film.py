"""A film is heard and seen: its face stands where it was in sight, and its halves may be missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from affetto.bundle import Bundle
from affetto.errors import AffettoError, MediaError
from affetto.features.face_track import Box
from affetto.predictor import Predictor
from affetto.records import Clip, Prediction
from sounds import voice_like

RATE = 16000
FILM = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(64)  # what an MP4 begins with


class Film:
    """Stands for a decoder: six seconds of voice, and a white face in the second, third and fourth."""

    def __init__(self, sound: bool = True, pictures: bool = True) -> None:
        self.sound, self.pictures = sound, pictures

    def iter_audio(self, source: object, **_: object) -> Iterator[np.ndarray]:
        if not self.sound:
            raise MediaError("audio_empty", "film: holds no audio track")
        yield from np.split(voice_like(6.0), 6)

    def iter_frames(self, source: object, *, every: float, **_: object) -> Iterator[tuple[float, np.ndarray]]:
        if not self.pictures:
            raise MediaError("video_without_pictures", "film: holds no pictures")
        for second in np.arange(0, 6, every):
            yield float(second), np.full((40, 40, 3), 255 if 1 <= second < 4 else 0, np.uint8)

    def decode_image(self, source: object) -> np.ndarray:
        raise AssertionError("a film is no picture")


class Finder:
    """Finds a face wherever it is light."""

    def faces(self, image: np.ndarray) -> tuple[Box, ...]:
        return (Box(20.0, 20.0, 40.0),) if image.max() else ()


@pytest.fixture(autouse=True)
def finder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affetto.features.face_track.FaceFinder", Finder)


def answered(bundle: Bundle, film: Film, **options: object) -> Prediction:
    predictor = Predictor(bundle, decoder=film)  # type: ignore[arg-type]
    return predictor.predict(speech=FILM, vision=FILM, timeline=True, **options)  # type: ignore[arg-type]


def test_faces_count_where_they_are_in_sight(plain_bundle: Bundle) -> None:
    answer = answered(plain_bundle, Film())
    assert answer.duration == 6.0
    assert answer.missing == ("text",)
    assert answer.modalities["vision"].emotion == "surprise"
    seen = ["vision" in step.modalities for step in answer.segments]
    # In sight until half a second after 3.8 s; a step's window reaches a second to either side.
    assert seen == [True] * 11 + [False]
    assert answer.segments[4].emotion == "surprise"


def test_a_film_that_is_only_looked_at(plain_bundle: Bundle) -> None:
    answer = Predictor(plain_bundle, decoder=Film()).predict(vision=FILM, timeline=True)  # type: ignore[arg-type]
    assert answer.missing == ("speech", "text")
    assert [step.emotion for step in answer.segments[:4]] == [None, None, "surprise", "surprise"]


def test_a_part_of_a_film(plain_bundle: Bundle, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(FILM)
    clip = Clip("a", vision=str(film), start=0.5, end=3.0)
    predictor = Predictor(plain_bundle, decoder=Film())  # type: ignore[arg-type]
    answer = predictor.predict_clip(clip, timeline=True)
    # A face from 1.0 s on is at 0.5 s of the part, and what comes after 3 s is not looked at.
    assert [step.emotion for step in answer.segments] == [None, *["surprise"] * 4]


@pytest.mark.parametrize(("sound", "pictures", "missing"), [(False, True, "speech"), (True, False, "vision")])
def test_a_silent_film_and_a_black_screen(
    plain_bundle: Bundle, sound: bool, pictures: bool, missing: str
) -> None:
    assert missing in answered(plain_bundle, Film(sound, pictures)).missing


def test_a_film_with_neither(plain_bundle: Bundle) -> None:
    with pytest.raises(AffettoError) as caught:
        answered(plain_bundle, Film(sound=False, pictures=False))
    assert caught.value.code == "nothing_to_predict"
