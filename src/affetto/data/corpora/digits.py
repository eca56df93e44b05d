"""Digits three ways: heard, seen and written. A small real corpus to bring meanings together with.

Origin: Free Spoken Digit Dataset (Jackson et al., github.com/Jakobovski/free-spoken-digit-dataset) and MNIST
(LeCun et al. 1998).
Licence: CC BY-SA 4.0 (speech), CC BY-SA 3.0 (pictures).

Layout: a folder with `fsdd/recordings/7_george_32.wav` (digit, speaker, take; also `.flac`) and
`mnist/mnist_t10k.npz` (images [N 28 28] uint8, labels [N]), or any other `.npz` there with these names.

Quirks: the pictures lie in one array, and a Clip points at files: they are written once, as PNG, into a zip in
the folder for temporary files, and again when it has gone. Every spoken digit brings its word as its text. All
digits were cut close, and hold nothing above 4 kHz. Pictures whose number ends in 0 or 5 (from 0) are "test";
nobody knows who wrote them.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from affetto.data.corpora.layout import layout_error
from affetto.data.manifest import Corpus
from affetto.errors import DataError
from affetto.records import Clip

LICENCE = "CC BY-SA 4.0"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_RECORDING = re.compile(r"(\d)_(\w+)_(\d+)\.(?:wav|flac)")
_WANTED = "fsdd/recordings/DIGIT_SPEAKER_TAKE.wav and mnist/*.npz with images and labels"
_TEST_EVERY = 5


def read(path: str | Path, *, templates: Sequence[str] = ("{}",)) -> Corpus:
    """Spoken digits with their words, and pictures of digits; the task `digit` has the words as labels.

    `templates` are what the words are put into, in turn from take to take. Raises DataError `corpus_layout`
    for a folder that does not hold both; `output_unwritable` where the pictures cannot be unpacked.
    """
    folder = Path(path)
    spoken = _spoken(folder / "fsdd" / "recordings", templates)
    tables = sorted((folder / "mnist").glob("*.npz"))
    if not spoken or not tables:
        raise layout_error("spoken and drawn digits", folder, _WANTED)
    return Corpus("digits", LICENCE, (*spoken, *_drawn(tables[0], folder)))


def _spoken(folder: Path, templates: Sequence[str]) -> list[Clip]:
    clips = []
    for file in sorted(folder.glob("*.*")):
        match = _RECORDING.fullmatch(file.name)
        if match is not None:
            digit, speaker, take = int(match[1]), match[2], int(match[3])
            clips.append(
                Clip(
                    id=file.stem,
                    speech=str(file),
                    text=templates[take % len(templates)].format(WORDS[digit]),
                    speaker=speaker,
                    language="en",
                    labels={"digit": WORDS[digit]},
                    corpus="digits",
                    attributes={"take": str(take)},
                )
            )
    return clips


def _drawn(table: Path, folder: Path) -> list[Clip]:
    try:
        with np.load(table, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
        if (
            images.dtype != np.uint8
            or images.ndim != 3
            or labels.shape != images.shape[:1]
            or labels.max() > 9
        ):
            raise ValueError("images must be uint8 [N H W], labels [N] from 0 to 9")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise layout_error("spoken and drawn digits", folder, f"{_WANTED} ({error})") from error
    archive = _unpacked(table, images)
    return [
        Clip(
            id=f"picture-{number}",
            vision=f"{archive}#{number}.png",
            labels={"digit": WORDS[int(digit)]},
            split="test" if number % _TEST_EVERY == 0 else None,
            corpus="digits",
        )
        for number, digit in enumerate(labels)
    ]


def _unpacked(table: Path, images: np.ndarray) -> Path:
    """The pictures as `NUMBER.png` in a zip, whole or not at all."""
    from PIL import Image

    name = hashlib.sha256(table.read_bytes()).hexdigest()[:16]
    archive = Path(tempfile.gettempdir()) / f"affetto-digits-{name}.zip"
    if archive.is_file():
        return archive
    try:
        part = archive.with_name(f"{archive.name}.{os.getpid()}")
        with zipfile.ZipFile(part, "w") as opened:
            for number, pixels in enumerate(images):
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "PNG")
                opened.writestr(f"{number}.png", buffer.getvalue())
        part.replace(archive)
    except OSError as error:
        message = f"cannot unpack the pictures of {table} into {archive}: {error.strerror or error}"
        raise DataError("output_unwritable", message) from None
    return archive
