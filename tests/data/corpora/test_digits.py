"""Digits heard, seen and written: a small folder in their published layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affetto.data.corpora import read_corpus
from affetto.errors import DataError
from affetto.media import decode_image

IMAGES = np.random.default_rng(0).integers(0, 255, (7, 28, 28), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    recordings = tmp_path / "digits" / "fsdd" / "recordings"
    recordings.mkdir(parents=True)
    for name in ("7_george_0.wav", "7_george_1.wav", "0_theo_12.flac", "notes.txt"):
        (recordings / name).write_bytes(b"")
    (tmp_path / "digits" / "mnist").mkdir()
    labels = np.array([3, 1, 4, 1, 5, 9, 2], np.uint8)
    np.savez(tmp_path / "digits" / "mnist" / "mnist_t10k.npz", images=IMAGES, labels=labels)
    return tmp_path / "digits"


def test_voices_bring_their_words_and_pictures_lie_in_a_zip(folder: Path) -> None:
    clips = read_corpus("digits", folder, templates=("{}", "number {}")).clips
    spoken = {clip.id: clip for clip in clips if clip.speech}
    assert {name: clip.text for name, clip in spoken.items()} == {
        "0_theo_12": "zero", "7_george_0": "seven", "7_george_1": "number seven",
    }  # fmt: skip
    assert spoken["7_george_1"].speaker == "george"
    assert spoken["7_george_1"].labels == {"digit": "seven"}
    drawn = [clip for clip in clips if clip.vision]
    assert [clip.labels["digit"] for clip in drawn[:3]] == ["three", "one", "four"]
    assert [clip.split for clip in drawn] == ["test", None, None, None, None, "test", None]
    assert np.array_equal(decode_image(drawn[4].vision)[:, :, 1], IMAGES[4])


def test_pictures_are_unpacked_once(folder: Path) -> None:
    archive = Path(next(c.vision for c in read_corpus("digits", folder).clips if c.vision).partition("#")[0])
    before = archive.stat().st_mtime_ns
    read_corpus("digits", folder)
    assert archive.stat().st_mtime_ns == before
    assert not list(folder.rglob("*.zip"))


def test_a_table_that_is_none_is_refused(folder: Path) -> None:
    np.savez(folder / "mnist" / "mnist_t10k.npz", images=IMAGES.astype(float), labels=np.zeros(7, int))
    with pytest.raises(DataError, match="images must be uint8"):
        read_corpus("digits", folder)
