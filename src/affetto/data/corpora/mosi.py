"""CMU-MOSI: opinions on films, each utterance as features of its words, voice and face, with its sentiment.

Origin: Zadeh et al. 2016, "MOSI: Multimodal Corpus of Sentiment Intensity and Subjectivity Analysis in Online
Opinion Videos", arXiv:1606.06259. Licence: features for research; the videos are their makers'.

Layout: any of the published sets of features:
`mosi_utterance.npz`: arrays text, audio, video [N D], label (0, 1), split, id, transcript (those of Poria et
al. 2017, "Context-Dependent Sentiment Analysis in User-Generated Videos");
`mosi_data.pkl`, `aligned_50.pkl`, `unaligned_50.pkl` or another name: a mapping of train, valid and test to
text, audio, vision [N T D] and labels or regression_labels in -3..3, with id and raw_text where they are
there. A pickle is read without running anything in it, and unpacked once into an `.npz` beside it, because a
Clip points at rows of arrays.

Quirks: the text features of some sets were trained on the training videos: what is measured on those, and on
validation videos drawn from them, is far too good. Published audio features hold infinite values (set to 0,
and counted). Tasks: `sentiment` is negative or positive, a score of exactly 0 having neither; where scores are
there, `sentiment7` is the rounded score and `sentiment_score` itself. Splits are by video; the speaker is the
video, for nobody says which of the 93 videos share one of the 89 speakers. The utterance set has no official
validation part.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affetto.data.corpora.layout import layout_error
from affetto.data.corpora.pickles import read_arrays
from affetto.data.manifest import Corpus
from affetto.errors import DataError
from affetto.files import write_whole
from affetto.records import Clip, Label

LICENCE = "features for research only"

_UTTERANCES = "mosi_utterance.npz"
_PARTS = {"train": "train", "valid": "validation", "dev": "validation", "test": "test"}
#: What a set calls a modality -> what it is here.
_MODALITIES = {"audio": "speech", "text": "text", "vision": "vision", "video": "vision"}
_SCORES = ("regression_labels", "labels")


def read(path: str | Path) -> Corpus:
    """CMU-MOSI features, official splits; `path` is a folder or one of its files.

    Raises DataError `corpus_layout` for what does not hold them, `output_unwritable` where a pickle cannot be
    unpacked.
    """
    path = Path(path)
    files = [path] if path.is_file() else sorted([*path.glob("*.npz"), *path.glob("*.pkl")])
    if path.is_dir():  # what was unpacked stands for its pickle
        files.sort(key=lambda file: (file.name != _UTTERANCES, file.suffix != ".npz", file.name))
    if not files or files[0].suffix not in (".npz", ".pkl"):
        raise layout_error("CMU-MOSI", path, f"{_UTTERANCES}, or a .pkl of its features")
    file = files[0] if files[0].suffix == ".npz" else _unpacked(files[0])
    arrays = _small_arrays(file)
    if {"split", "label", "id", "text"} <= set(arrays):
        return Corpus("mosi", LICENCE, tuple(_utterances(file, arrays)))
    clips = tuple(clip for part in _PARTS for clip in _sequences(file, arrays, part))
    if not clips:
        raise layout_error("CMU-MOSI", path, f"{_UTTERANCES}, or train, valid and test with text and labels")
    changed = int(np.sum(arrays.get("not_finite", 0)))
    problems = (f"{changed} values were not finite and are 0",) if changed else ()
    return Corpus("mosi", LICENCE, clips, {}, problems)


def _utterances(file: Path, arrays: Mapping[str, NDArray[Any]]) -> Iterator[Clip]:
    """The clips of one table of utterance vectors."""
    features = [name for name in _MODALITIES if name in arrays]
    for row, name in enumerate(arrays["id"].tolist()):
        yield Clip(
            id=name,
            text=str(arrays["transcript"][row]) if "transcript" in arrays else None,
            features={_MODALITIES[array]: f"{file}#{array}/{row}" for array in features},
            speaker=_video(name),
            group=_video(name),
            language="en",
            labels={"sentiment": "positive" if arrays["label"][row] else "negative"},
            split=_PARTS[str(arrays["split"][row])],
            corpus="mosi",
        )


def _sequences(file: Path, arrays: Mapping[str, NDArray[Any]], part: str) -> Iterator[Clip]:
    """The clips of train, valid or test of a set with scores."""
    found = next((f"{part}/{name}" for name in _SCORES if f"{part}/{name}" in arrays), None)
    features = [name for name in _MODALITIES if f"{part}/{name}" in arrays]
    if found is None or not features:
        return
    scores = arrays[found].reshape(len(arrays[found]), -1)[:, 0]
    names, texts = arrays.get(f"{part}/id"), arrays.get(f"{part}/raw_text")
    for row, score in enumerate(scores.tolist()):
        published = None if names is None else str(np.ravel(names[row])[0])
        yield Clip(
            id=f"{part}-{row}" if published is None else published,
            text=None if texts is None else str(texts[row]),
            features={_MODALITIES[name]: f"{file}#{part}/{name}/{row}" for name in features},
            speaker=None if published is None else _video(published),
            group=None if published is None else _video(published),
            language="en",
            labels=_labels(score),
            split=_PARTS[part],
            corpus="mosi",
        )


def _labels(score: float) -> dict[str, Label]:
    labels: dict[str, Label] = {
        "sentiment7": str(int(np.clip(np.rint(score), -3, 3))),
        "sentiment_score": float(score),
    }
    return labels if score == 0 else {"sentiment": "positive" if score > 0 else "negative", **labels}


def _video(name: str) -> str:
    """The video of an utterance: "03bSnISJMiM_1", "03bSnISJMiM$_$1" and "03bSnISJMiM[1]" are of 03bSnISJMiM."""
    if "$_$" in name:
        return name.partition("$_$")[0]
    return name.rpartition("[")[0] if name.endswith("]") else name.rpartition("_")[0] or name


def _small_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file; of those that hold features only a sign that they are there."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            kept = [name for name in archive.files if name.rpartition("/")[2] not in _MODALITIES]
            there = {name: np.zeros(0) for name in archive.files}
            return {**there, **{name: archive[name] for name in kept}}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError("corpus_layout", f"cannot read {file}: {error}") from None


def _unpacked(pickle: Path) -> Path:
    """The `.npz` of a pickle, written beside it, whole or not at all."""
    found = {
        f"{part}/{name}": values
        for part, contents in read_arrays(pickle).items()
        if part in _PARTS and isinstance(contents, Mapping)
        for name, values in contents.items()
        if name in (*_MODALITIES, *_SCORES, "id", "raw_text")
    }
    changed = 0
    for name, values in found.items():
        array = np.asarray(values)
        if name.rpartition("/")[2] in (*_MODALITIES, *_SCORES):
            array = array.astype(np.float32)
            changed += int((~np.isfinite(array)).sum())
            array = np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)
        else:
            array = array.astype(np.str_)
        found[name] = array
    buffer = io.BytesIO()
    np.savez(buffer, not_finite=np.array(changed), **found)
    target = pickle.with_suffix(".npz")
    write_whole(target, buffer.getvalue())
    return target
