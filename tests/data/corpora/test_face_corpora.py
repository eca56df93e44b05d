"""FER2013, AffectNet, RAF-DB and CK+: pictures and their labels in tables, names and folders."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from affetto.data.corpora import read_corpus
from affetto.data.manifest import Corpus
from affetto.errors import DataError

IN_ORDER = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]

# --- FER2013 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "header"),
    [("fer2013.csv", "emotion,pixels,Usage"), ("icml_face_data.csv", "emotion, Usage, pixels")],
)
def test_fer2013_in_a_table(
    put: Callable[..., Path], table: str, header: str, kept_by_a_manifest: Callable[[Corpus], bool]
) -> None:
    usages = ["Training"] * 5 + ["PublicTest", "PrivateTest"]
    pixels = [" ".join(str((row + i) % 256) for i in range(48 * 48)) for row in range(7)]
    lines = [
        f"{row},{usages[row]},{pixels[row]}" if "icml" in table else f"{row},{pixels[row]},{usages[row]}"
        for row in range(7)
    ]
    folder = put({table: "\n".join([header, *lines]) + "\n"})
    corpus = read_corpus("fer2013", folder)
    assert [clip.labels["emotion"] for clip in corpus.clips] == IN_ORDER
    assert [clip.split for clip in corpus.clips] == ["train"] * 5 + ["validation", "test"]
    archive, _, member = (corpus.clips[6].vision or "").partition("#")
    assert archive == str(folder / "fer2013_faces.zip")
    with zipfile.ZipFile(archive) as opened:
        face = np.asarray(Image.open(io.BytesIO(opened.read(member))))
    assert np.array_equal(face, np.arange(6, 48 * 48 + 6).astype(np.uint8).reshape(48, 48))
    assert kept_by_a_manifest(corpus)
    (folder / table).write_text(header.replace("emotion", "feeling") + "\n")
    with pytest.raises(DataError, match="has not the columns emotion") as caught:
        read_corpus("fer2013", folder)
    assert caught.value.code == "corpus_layout"


def test_fer2013_in_folders(put: Callable[..., Path]) -> None:
    files = {
        "train/happy/Training_1.jpg": b"",
        "train/neutral/Training_2.jpg": b"",
        "test/sad/PrivateTest_1.jpg": b"",
    }
    corpus = read_corpus("fer2013", put(files))
    found = {clip.id: clip.labels["emotion"] for clip in corpus.clips}
    assert found == {
        "train-Training_1": "happiness",
        "train-Training_2": "neutral",
        "test-PrivateTest_1": "sadness",
    }


@pytest.mark.parametrize("row", ["7,0 0,Training", "12,0 0,Training", ",0 0,Training", "1,0 0,Exam"])
def test_fer2013_with_other_codes_is_another_table(put: Callable[..., Path], row: str) -> None:
    with pytest.raises(DataError, match="emotions from 0 to 6"):
        read_corpus("fer2013", put({"fer2013.csv": f"emotion,pixels,Usage\n{row}\n"}))


# --- AffectNet -------------------------------------------------------------------------------------------


def array(value: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(value))
    return buffer.getvalue()


def annotated(part: str, name: str, expression: object, valence: object, arousal: object) -> dict[str, bytes]:
    return {
        f"{part}/images/{name}.jpg": b"",
        f"{part}/annotations/{name}_exp.npy": array(expression),
        f"{part}/annotations/{name}_val.npy": array(valence),
        f"{part}/annotations/{name}_aro.npy": array(arousal),
        f"{part}/annotations/{name}_lnd.npy": array([1.0] * 136),
    }


def test_affectnet_as_arrays(put: Callable[..., Path], kept_by_a_manifest: Callable[[Corpus], bool]) -> None:
    files = {
        **annotated("train_set", "7", "1", "0.5", "-0.25"),
        **annotated("train_set", "8", 7, -0.5, 0.5),
        **annotated("train_set", "9", "6", "-2", "-2"),
        **annotated("val_set", "7", 0, 0.0, 0.0),
        **annotated("val_set", "3", [], 0.0, 0.0),
    }
    del files["train_set/images/9.jpg"]
    folder = put(files)
    corpus = read_corpus("affectnet", folder)
    happy, neutral = corpus.clips
    assert (happy.id, happy.split, happy.vision) == (
        "train-7",
        "train",
        str(folder / "train_set/images/7.jpg"),
    )
    assert happy.labels == {"emotion": "happiness", "valence": 0.5, "arousal": -0.25}
    assert (neutral.id, neutral.split, neutral.labels["emotion"]) == ("validation-7", "validation", "neutral")
    assert corpus.dropped == {"contempt": 1}
    assert corpus.problems == (
        "left out 1 whose labels cannot be read",
        "left out 1 whose file is missing: train-9",
    )
    assert kept_by_a_manifest(corpus)


AFFECTNET = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
)


@pytest.mark.parametrize("pictures", ["Manually_Annotated_Images/", ""])
def test_affectnet_as_tables(put: Callable[..., Path], pictures: str) -> None:
    files = {
        "training.csv": AFFECTNET + "689/a.jpg,0,0,9,9,1;2,5,-0.6,0.4\n" + "1/b.jpg,0,0,9,9,1;2,10,-2,-2\n",
        "validation.csv": "2/c.jpg,0,0,9,9,1;2,4,-2,-2\n",  # without a header, as in some copies
        f"{pictures}689/a.jpg": b"",
        f"{pictures}2/c.jpg": b"",
    }
    corpus = read_corpus("affectnet", put(files))
    assert [(clip.id, clip.labels) for clip in corpus.clips] == [
        ("train-a", {"emotion": "disgust", "valence": -0.6, "arousal": 0.4}),
        ("validation-c", {"emotion": "fear"}),
    ]
    assert corpus.dropped == {"no face": 1}


# --- RAF-DB ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("picture", ["basic/Image/aligned/{}_aligned.jpg", "basic/Image/original/{}.jpg"])
def test_rafdb_as_published(put: Callable[..., Path], picture: str) -> None:
    order = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]
    lines = [f"train_{n:05}.jpg {n}" for n in range(1, 8)] + ["test_0001.jpg 4", "test_0002.jpg 4", "x.jpg 8"]
    names = [f"train_{n:05}" for n in range(1, 8)] + ["test_0001"]
    files = {picture.format(name): b"" for name in names}
    corpus = read_corpus(
        "rafdb", put({"basic/EmoLabel/list_patition_label.txt": "\n".join(lines) + "\n", **files})
    )
    assert [clip.labels["emotion"] for clip in corpus.clips] == [*order, "happiness"]
    assert [clip.split for clip in corpus.clips] == ["train"] * 7 + ["test"]
    assert corpus.problems == (
        "list_patition_label.txt line 10 is not a picture and a label: 'x.jpg 8'",
        "left out 1 whose file is missing: test_0002.jpg",
    )


# --- CK+ -------------------------------------------------------------------------------------------------


def test_ckplus_as_published(put: Callable[..., Path], kept_by_a_manifest: Callable[[Corpus], bool]) -> None:
    def emotion(place: str, last: int, text: str) -> dict[str, str]:
        return {f"Emotion/{place}/{place.replace('/', '_')}_{last:08}_emotion.txt": text}

    def pictures(place: str, last: int) -> dict[str, bytes]:
        stem = f"cohn-kanade-images/{place}/{place.replace('/', '_')}"
        return {f"{stem}_{n:08}.png": b"" for n in range(1, last + 1)}

    folder = put(
        {
            **emotion("S005/001", 11, "   3.0000000e+00\n"), **pictures("S005/001", 11),
            **emotion("S010/002", 14, "   7.0000000e+00\n"), **pictures("S010/002", 14),
            **emotion("S010/003", 2, "   2.0000000e+00\n"), **pictures("S010/003", 2),
            **emotion("S010/004", 2, "   1.0000000e+00\n"), **emotion("S010/005", 2, "none\n"),
            **pictures("S010/006", 3),  # without a label
        }
    )  # fmt: skip
    corpus = read_corpus("ckplus", folder)
    assert {clip.id: (clip.speaker, clip.labels["emotion"]) for clip in corpus.clips} == {
        "S005_001_00000001": ("S005", "neutral"),
        "S005_001_00000011": ("S005", "disgust"),
        "S010_002_00000001": ("S010", "neutral"),
        "S010_002_00000014": ("S010", "surprise"),
    }
    assert corpus.dropped == {"contempt": 1}
    assert corpus.problems == (
        "S010_005_00000002_emotion.txt holds no number from 0 to 7",
        "left out 1 whose file is missing: S010/004",
    )
    assert kept_by_a_manifest(corpus)
