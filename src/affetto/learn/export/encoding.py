"""Clips as the encoders of a bundle hear, read and see them: encoded once, for everything that is built on top.

What is written are precomputed features and a manifest of them, so that training and `affetto compare` read them
as they read the published ones: the encoders are frozen by not being there.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affetto.bundle import FUSION, Bundle
from affetto.data.manifest import write_manifest
from affetto.errors import AffettoError, DataError
from affetto.features.text import load_tokenizer
from affetto.files import write_whole
from affetto.learn.export.parts import Parts, padded
from affetto.learn.export.writer import load_config
from affetto.learn.training.media_cache import ClipKey, MediaCache
from affetto.learn.training.pairing import words_as_text
from affetto.records import Clip

ARCHIVE, MANIFEST = "features.npz", "manifest.csv"

Rows = Mapping[str, Sequence[NDArray[np.float32]]]


def encode_clips(
    bundle: Bundle,
    clips: Sequence[Clip],
    folder: Path,
    *,
    pool: bool = False,
    wrap: Callable[[Sequence[Clip]], Iterable[Clip]] = iter,
) -> dict[ClipKey, AffettoError]:
    """Write `features.npz` and `manifest.csv` into a folder: the clips with features [T D] in the place of media.

    Of each modality that both the bundle and some clip have, the archive holds one array [N T D], filled up with
    zeros; with `pool` the means over time [N D]. Of speech the first 12 s are encoded. Labels, people and splits
    stay with the clips; a text that is no longer there leaves the attribute `sentence`, by which folds and the
    search for leaks still know it. `wrap` may show progress.

    Returns the clips that are left out, with the reason. Raises DataError `corpus_unreadable` when more than a
    tenth cannot be read, `nothing_to_predict` without a clip that the bundle can encode, `output_unwritable`.
    """
    names = bundle.info.parts.modalities()
    usable, left_out = _usable(clips, names)
    if not usable:
        raise DataError(
            "nothing_to_predict", f"no clip has any of {', '.join(names)}, which {bundle.path} encodes"
        )
    tokenizer = load_tokenizer(bundle.read("tokenizer.json")) if bundle.info.parts.text else None
    cache = MediaCache(load_config(bundle), tokenizer)
    left_out |= cache.add(usable, wrap)
    precision = bundle.precisions()[0]
    parts = Parts({name: bundle.read_part(name, precision) for name in (*names, FUSION)})
    rows: dict[str, list[NDArray[np.float32]]] = {}
    encoded = []
    for clip in wrap([clip for clip in usable if (clip.corpus, clip.id) not in left_out]):
        sources = {}
        for name, track in parts.encode_items([cache.inputs(clip)])[0].items():
            steps = track.values[0][track.mask[0]]
            own = rows.setdefault(name, [])
            sources[name] = str(folder / f"{ARCHIVE}#{name}/{len(own)}")
            own.append(steps.mean(axis=0) if pool else steps)
        encoded.append(_without_media(clip, sources))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / ARCHIVE, _archive(rows, pool))
    write_manifest(encoded, folder / MANIFEST)
    return left_out


def _usable(clips: Sequence[Clip], names: Sequence[str]) -> tuple[list[Clip], dict[ClipKey, AffettoError]]:
    """The clips that have any of these modalities, and the others, each with an error."""
    usable: list[Clip] = []
    left_out: dict[ClipKey, AffettoError] = {}
    for clip in map(words_as_text, clips):
        if set(clip.modalities()) & set(names):
            usable.append(clip)
        else:
            message = (
                f"clip {clip.id} has none of {', '.join(names)}; choose another --bundle, or leave it out"
            )
            left_out[clip.corpus, clip.id] = DataError("nothing_to_predict", message)
    return usable, left_out


def _without_media(clip: Clip, features: Mapping[str, str]) -> Clip:
    sentence = {"sentence": clip.text} if clip.text and "sentence" not in clip.attributes else {}
    return replace(
        clip, speech=None, text=None, vision=None, start=None, end=None, words=(), scripted=False,
        features=features, attributes={**clip.attributes, **sentence},
    )  # fmt: skip


def _archive(rows: Rows, pool: bool) -> bytes:
    arrays = {name: np.stack(own) if pool else padded(own)[0] for name, own in rows.items()}
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes the names for flags
    return file.getvalue()
