"""`affetto export`: the ONNX parts of a bundle in another precision, made from its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from affetto.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from affetto.bundle import Bundle
    from affetto.records import Clip

_NEEDED = ("torch", "onnx", "onnxscript", "safetensors")


def export(
    source: Annotated[
        str | None,
        typer.Argument(metavar="BUNDLE|RUN", help="A bundle or run; the one that ships if left out."),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.")] = Path("bundle"),
    precision: Annotated[str, typer.Option(help="fp32 or int8.")] = "fp32",
    examples: Annotated[
        Path | None,
        typer.Option(help="A manifest of typical clips, which int8 takes its scales from."),
    ] = None,
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Keep weights that the parts hold in the parts alone: a smaller bundle, to ship."
        ),
    ] = False,
) -> None:
    """Make the ONNX parts of a bundle in another precision.

    OUTPUT becomes a bundle with the parts of this precision and no other. Parts that the bundle has are taken
    over; others are made from its weights, which needs the [train] extra, and compared with the model. With
    --once, training that starts from OUTPUT begins with weights as rounded as its parts have them.
    """
    from affetto.bundle import FUSION, PRECISIONS, describe, open_bundle, part_file

    if precision not in PRECISIONS:
        raise ConfigError("option_invalid", f"precision {precision!r}: expected {' or '.join(PRECISIONS)}")
    bundle = open_bundle(bundle_of(source))
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError("extra_missing", f'export needs {", ".join(missing)}: pip install "affetto[train]"')
    needed = {part_file(name, precision) for name in (*bundle.info.parts.modalities(), FUSION)}
    items: list[dict[str, np.ndarray]] = []
    if precision == "int8" and not needed <= set(bundle.info.files):
        if examples is None:
            raise ConfigError(
                "option_invalid", "int8 takes its scales from typical clips: give a manifest with --examples"
            )
        from affetto.data.manifest import read_manifest

        items = list(read_items(bundle, read_manifest(examples)))
    from affetto.learn.export.writer import remake_parts

    print(describe(remake_parts(bundle, output, precision, examples=items, once=once)))
    print(f"written: {output}")


def bundle_of(source: str | None) -> str | None:
    """The bundle that a BUNDLE|RUN argument names: a run folder holds its own."""
    if source is not None and (Path(source) / "bundle" / "bundle.json").is_file():
        return str(Path(source) / "bundle")
    return source


def read_items(bundle: Bundle, clips: Sequence[Clip]) -> Iterator[dict[str, Any]]:
    """The media of clips as a bundle's parts take them: speech [N], text [T], vision [1 3 S S]."""
    from affetto.align.activity import speech_probability, trimmed
    from affetto.features.faces import face_crop
    from affetto.features.text import encode, load_tokenizer
    from affetto.media import decode_audio, decode_image

    parts = bundle.info.parts
    tokenizer = load_tokenizer(bundle.read("tokenizer.json")) if parts.text else None
    for clip in clips:
        item: dict[str, Any] = {}
        if parts.speech and clip.speech:
            samples = decode_audio(clip.speech, start=clip.start, end=clip.end)
            first, last = trimmed(speech_probability(samples), len(samples), parts.speech.margin_seconds)
            window = round(parts.speech.window_seconds * parts.speech.rate)
            item["speech"] = samples[first:last][:window]
        if parts.text and tokenizer and clip.text and not clip.scripted:
            item["text"] = encode(tokenizer, clip.text, parts.text.max_tokens)
        if parts.vision and clip.vision:
            item["vision"] = face_crop(decode_image(clip.vision), parts.vision.size)[0][None]
        yield item
