"""`affetto features`: what a recording looks like to a model, as numbers in a file."""

from __future__ import annotations

import io
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from affetto.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

_DEFAULT_MELS = {"logmel": 64, "mfcc": 64, "fbank": 80}


class Kind(StrEnum):
    """What can be asked for."""

    logmel = "logmel"
    mfcc = "mfcc"
    fbank = "fbank"
    pitch = "pitch"


def features(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A recording; - reads it from stdin.")],
    kind: Annotated[Kind, typer.Option(help="What to compute.")] = Kind.logmel,
    n_mels: Annotated[
        int | None,
        typer.Option(help="Mel bands, like 64, 80 or 128 (default: 64; fbank: 80).", min=1, max=128),
    ] = None,
    n_mfcc: Annotated[int, typer.Option(help="Cepstral coefficients, like 13, 20 or 40.", min=1)] = 13,
    deltas: Annotated[bool, typer.Option(help="MFCC with their first and second derivatives.")] = True,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write values, times and settings to a .npz file.")
    ] = None,
) -> None:
    """Write log-mel, MFCC, filter bank or pitch of a recording.

    Frames of 25 ms every 10 ms at 16 kHz. The file holds `values` [T D], `times` [T] (frame centres in
    seconds) and `settings` (JSON); for pitch, `values` [T] in Hz (0 = unvoiced) and `probability` [T] of
    being voiced. Without -o one line says what was found.
    """
    if output is not None and output.suffix != ".npz":
        raise ConfigError("option_invalid", f"output {output}: expected a name ending in .npz")
    from affetto.media.worker import DecodingWorker

    with DecodingWorker() as worker:
        waveform = worker.decode_audio(file)
    settings = _settings(kind, n_mels, n_mfcc, deltas)
    arrays = compute(waveform, settings)
    if output is not None:
        _write(output, {**arrays, "settings": json.dumps(settings)})
    typer.echo(summary(kind, arrays) + (f" -> {output}" if output is not None else ""))


def compute(waveform: np.ndarray, settings: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a `kind` with its settings: `values`, `times` and, for pitch, `probability`."""
    from affetto.features import prosody, spectral

    if settings["kind"] == "pitch":
        f0, probability, times = prosody.pitch(waveform)
        return {"values": f0, "probability": probability, "times": times}
    options = {name: settings[name] for name in ("n_mels", "n_mfcc", "deltas") if name in settings}
    function: Any = {"logmel": spectral.log_mel, "mfcc": spectral.mfcc, "fbank": spectral.fbank}
    values = function[settings["kind"]](waveform, **options)
    return {"values": values, "times": spectral.frame_times(len(values))}


def summary(kind: Kind, arrays: dict[str, np.ndarray]) -> str:
    """One line: the shape and range of the values; of pitch, how much is voiced and how high."""
    values = arrays["values"]
    if kind is Kind.pitch:
        voiced = values[values > 0]
        if not voiced.size:
            return f"pitch [{len(values)}], nothing voiced"
        share = 100 * voiced.size / values.size
        return f"pitch [{len(values)}], {share:.0f} % voiced, {voiced.min():.0f} to {voiced.max():.0f} Hz"
    shape = " ".join(str(size) for size in values.shape)
    return f"{kind.value} [{shape}], {values.min():.2f} to {values.max():.2f}, mean {values.mean():.2f}"


def _settings(kind: Kind, n_mels: int | None, n_mfcc: int, deltas: bool) -> dict[str, Any]:
    from affetto.features.spectral import HOP, RATE, WINDOW

    settings: dict[str, Any] = {"kind": kind.value, "rate": RATE, "window": WINDOW, "hop": HOP}
    if kind is not Kind.pitch:
        settings["n_mels"] = n_mels or _DEFAULT_MELS[kind.value]
    if kind is Kind.mfcc:
        settings |= {"n_mfcc": n_mfcc, "deltas": deltas}
    return settings


def _write(output: Path, arrays: dict[str, Any]) -> None:
    import numpy as np

    from affetto.files import write_whole

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_whole(output, buffer.getvalue())
