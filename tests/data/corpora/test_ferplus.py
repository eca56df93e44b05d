"""FER+: faces in folders and faces inside the table, votes, ties and doubled names."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from affetto.data.corpora import read_corpus
from affetto.data.manifest import write_manifest
from affetto.errors import DataError
from affetto.labels import EMOTIONS

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
ROWS = (
    "Training,fer0000000.png,4,0,0,1,3,2,0,0,0,0\n"
    "Training,fer0000001.png,5,0,5,0,0,0,0,0,0,0\n"  # a tie
    "Training,,0,0,0,0,0,0,0,0,0,10\n"  # no face, no name
    "Training,fer0000003.png,1,0,0,0,1,0,0,8,0,0\n"  # contempt
    "PublicTest,fer0000004.png,0,8,0,0,0,0,0,2,0,0\n"
    "PublicTest,fer0000005.png,2,0,0,0,0,0,0,4,4,0\n"  # a tie of two without a place
    "PrivateTest,fer0000006.png,0,0,10,0,0,0,0,0,0,0\n"
    "PrivateTest,fer0000006.png,10,0,0,0,0,0,0,0,0,0\n"  # the name again
)
FOLDERS = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}


def grey(row: int) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, (48, 48), dtype=np.uint8)


def table(folder: Path, rows: str = ROWS) -> list[list[str]]:
    (folder / "fer2013new.csv").write_text(HEADER + rows)
    return [line.split(",") for line in rows.splitlines()]


def in_folders(folder: Path, inside: str = "") -> None:
    for number, (usage, name, *_) in enumerate(table(folder)):
        if name:
            path = folder / inside / FOLDERS[usage] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(grey(number)).save(path)


def in_table(folder: Path) -> None:
    lines = ["emotion,pixels,Usage"]
    for number, (usage, *_) in enumerate(table(folder)):
        lines.append(f"0,{' '.join(map(str, grey(number).ravel()))},{usage}")
    (folder / "fer2013.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("layout", ["folders", "folders in data", "table"])
def test_ferplus_as_published(tmp_path: Path, layout: str) -> None:
    if layout == "table":
        in_table(tmp_path)
    else:
        in_folders(tmp_path, "data" if layout == "folders in data" else "")
    corpus = read_corpus("ferplus", tmp_path)
    found = {clip.id: (clip.split, clip.attributes["majority"]) for clip in corpus.clips}
    assert found == {
        "fer0000000": ("train", "neutral"),
        "fer0000001": ("train", ""),
        "fer0000004": ("validation", "happiness"),
    }
    first = corpus.clips[0]
    zeros = dict.fromkeys(EMOTIONS, 0.0)
    assert first.labels["emotion"] == {**zeros, "neutral": 0.4, "sadness": 0.1, "anger": 0.3, "disgust": 0.2}
    assert corpus.clips[2].labels["emotion"] == {**zeros, "happiness": 1.0}
    assert corpus.dropped == {"NF": 1, "contempt": 1, "contempt|unknown": 1}
    assert corpus.problems == ("left out fer0000006.png: the name stands twice",)
    assert first.modalities() == ("vision",)
    for clip in corpus.clips:
        archive, _, member = (clip.vision or "").partition("#")
        source = io.BytesIO(zipfile.ZipFile(archive).read(member)) if member else archive
        assert np.array_equal(np.asarray(Image.open(source)), grey(int(clip.id[3:])))


def test_faces_are_unpacked_once(tmp_path: Path) -> None:
    in_table(tmp_path)
    before = read_corpus("ferplus", tmp_path)
    (tmp_path / "fer2013.csv").unlink()
    assert read_corpus("ferplus", tmp_path) == before
    names = zipfile.ZipFile(tmp_path / "ferplus_faces.zip").namelist()
    assert len(names) == len(set(names)) == 6
    assert sorted(file.name for file in tmp_path.iterdir()) == ["fer2013new.csv", "ferplus_faces.zip"]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [("1 2 3", "row 1: expected 2304 numbers"), (" ".join(["256"] * 2304), "row 1: expected 2304 numbers")],
)
def test_pixels_that_are_none(tmp_path: Path, pixels: str, message: str) -> None:
    table(tmp_path, ROWS.splitlines(keepends=True)[0])
    (tmp_path / "fer2013.csv").write_text(f"emotion,pixels,Usage\n0,{pixels},Training\n")
    with pytest.raises(DataError, match=message) as caught:
        read_corpus("ferplus", tmp_path)
    assert caught.value.code == "corpus_layout"
    assert not (tmp_path / "ferplus_faces.zip").exists()


def test_tables_of_different_copies(tmp_path: Path) -> None:
    in_table(tmp_path)
    table(tmp_path, ROWS + ROWS)
    with pytest.raises(DataError, match="differ in their number of rows"):
        read_corpus("ferplus", tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["fer2013.csv", "fer2013new.csv"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_table(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", refuse)
    with pytest.raises(DataError, match=r"cannot unpack the faces .* Permission denied") as caught:
        read_corpus("ferplus", tmp_path)
    assert caught.value.code == "output_unwritable"


@pytest.mark.parametrize(
    "row", ["Nowhere,a.png" + ",1" * 10, "Training,a.png" + ",x" * 10, "Training,a.png,1"]
)
def test_rows_that_are_no_votes(tmp_path: Path, row: str) -> None:
    in_folders(tmp_path)
    table(tmp_path, row + "\n")
    with pytest.raises(DataError, match="row 1: expected one of Training") as caught:
        read_corpus("ferplus", tmp_path)
    assert caught.value.code == "corpus_layout"


def test_missing_pictures_are_counted(tmp_path: Path) -> None:
    in_folders(tmp_path)
    (tmp_path / "FER2013Train" / "fer0000000.png").unlink()
    corpus = read_corpus("ferplus", tmp_path)
    assert len(corpus.clips) == 2
    assert "left out 1 rows whose picture is missing" in corpus.problems


def test_the_same_corpus_as_a_manifest(tmp_path: Path) -> None:
    published, copy = tmp_path / "published", tmp_path / "copy"
    published.mkdir()
    copy.mkdir()
    in_folders(published)
    corpus = read_corpus("ferplus", published)
    write_manifest(corpus.clips, copy / "manifest.csv")
    assert read_corpus("ferplus", copy).clips == corpus.clips
