"""Sound from a path, bytes or standard input to 16 kHz mono float32: the only form that models see.

WAV, FLAC, Ogg (Vorbis, Opus) and MP3 are told by their bytes and decoded by libsndfile, block by block, so
that memory is that of one block and a file which holds more than it should is stopped, not swallowed.
M4A, MP4, QuickTime, WebM and Matroska go through `affetto.media.video` where PyAV is installed.

What is done to the samples, in order: channels are averaged, the rate becomes 16 kHz (soxr, HQ), values
are clipped to [-1, 1]. Nothing is normalised, trimmed or denoised.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import soxr

from affetto.errors import ConfigError, MediaError
from affetto.media.containers import AUDIO, VIDEO, Sniffed, sniff
from affetto.media.limits import SAMPLE_RATE, AudioLimits
from affetto.media.sound import AudioTrack, check_layout, open_sound_track, raise_truncated
from affetto.media.source import MediaSource, OpenSource, open_source

# Peaks of hot mixes and of lossy codecs lie a little over full scale and are clipped. 18 dB over it is no
# sound any more but numbers of another scale (16-bit integers stored as floats, or damage).
_HIGHEST_PEAK = 8.0
# Digital silence, -100 dBFS from lowest to highest sample: dither of one 16-bit step is three times as much.
_SILENT_SPREAD = 2e-5
# Less than this may be missing at the end: the lengths that MP3 and live recorders write are off by a frame.
_MISSING_SECONDS = 0.1

_EXPECTED = "expected WAV, FLAC, OGG or MP3"


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a header says. `rate` in Hz; `seconds` is None where only decoding can tell."""

    rate: int
    channels: int
    seconds: float | None
    container: str


def decode_audio(
    source: MediaSource,
    *,
    start: float | None = None,
    end: float | None = None,
    limits: AudioLimits = AudioLimits(),
) -> np.ndarray:
    """Decode `source` (path, `-`, `archive.zip#member` or bytes) to float32 [N], 16 kHz mono, in [-1, 1].

    `start` and `end` (seconds) cut a part out before it is resampled; an `end` after the last sample is
    the last sample. N is the number of samples of the cut, times 16 000 / rate, rounded.

    Raises MediaError with the code media_not_found, media_unreadable, media_too_large, audio_empty,
    audio_unknown_format, audio_corrupt (also samples far outside [-1, 1]), audio_truncated (0.1 s or more
    missing), audio_too_short, audio_too_long, audio_silent (-100 dBFS), audio_not_finite,
    audio_rate_unsupported (outside 8 to 192 kHz), audio_channels_unsupported (none, or more than 8) or
    video_unsupported; ConfigError config_invalid for a cut that makes no sense.
    """
    return np.concatenate(list(iter_audio(source, start=start, end=end, limits=limits, block_seconds=10.0)))


def iter_audio(
    source: MediaSource,
    *,
    start: float | None = None,
    end: float | None = None,
    limits: AudioLimits = AudioLimits(),
    block_seconds: float = 1.0,
) -> Iterator[np.ndarray]:
    """Yield what `decode_audio` returns in blocks of `block_seconds` (the last may be shorter).

    Memory does not grow with the length of the audio. The samples do not depend on `block_seconds`. Errors
    are those of `decode_audio`, raised when they are met: too little, silent or truncated audio is known
    only after the last block.
    """
    _check_cut(start, end)
    if not block_seconds > 0:
        raise ConfigError("config_invalid", f"block_seconds={block_seconds}: expected more than 0")
    size = max(round(block_seconds * SAMPLE_RATE), 1)
    with _open_track(source, limits) as (opened, _, track):
        yield from _regroup(_resample(_mono(track, start or 0.0, end, limits, opened.name), track.rate), size)


def probe(source: MediaSource, *, limits: AudioLimits = AudioLimits()) -> AudioInfo:
    """Read rate, channels, length and container without decoding. Errors as in `decode_audio`."""
    with _open_track(source, limits) as (_, sniffed, track):
        return AudioInfo(track.rate, track.channels, track.seconds, sniffed.container)


def _check_cut(start: float | None, end: float | None) -> None:
    low = 0.0 if start is None else start
    high = math.inf if end is None else end
    if not (0.0 <= low < high and math.isfinite(low)):
        raise ConfigError("config_invalid", f"start={start}, end={end}: expected 0 <= start < end (seconds)")


# --- opening ------------------------------------------------------------------------------------------------


@contextmanager
def _open_track(source: MediaSource, limits: AudioLimits) -> Iterator[tuple[OpenSource, Sniffed, AudioTrack]]:
    with open_source(source, max_bytes=limits.max_bytes) as opened:
        if opened.size == 0:
            raise MediaError("audio_empty", f"{opened.name}: holds no bytes; record or copy it again")
        sniffed = sniff(opened.file)
        with _track(opened, sniffed) as track:
            check_layout(track.rate, track.channels, opened.name)
            yield opened, sniffed, track


def _track(opened: OpenSource, sniffed: Sniffed) -> AbstractContextManager[AudioTrack]:
    if sniffed.container in AUDIO:
        return open_sound_track(opened, sniffed)
    if sniffed.container in VIDEO:
        from affetto.media.video import open_audio_track  # PyAV is an extra, and its codecs are many

        return open_audio_track(opened, sniffed)
    raise MediaError(
        "audio_unknown_format", f"{opened.name}: {sniffed.title}, {_EXPECTED}; convert it to one of these"
    )


# --- samples ------------------------------------------------------------------------------------------------


def _mono(
    track: AudioTrack, start: float, end: float | None, limits: AudioLimits, name: str
) -> Iterator[np.ndarray]:
    """The cut as mono blocks [n] at the track's own rate, checked on the way and at the end."""
    first = round(start * track.rate)
    wanted = None if end is None or math.isinf(end) else max(round(end * track.rate) - first, 1)
    most = round(limits.max_seconds * track.rate)
    _check_length(track, start, end, limits, name)
    count = 0
    low, high, spread = math.inf, -math.inf, 0.0
    for block in track.read(first, most + 1 if wanted is None else min(wanted, most + 1)):
        lowest, highest = float(block.min()), float(block.max())
        _check_samples(max(-lowest, highest), (first + count) / track.rate, name)
        count += len(block)
        if count > most:
            _raise_too_long(name, None, limits)
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
        low, high = min(low, float(mono.min())), max(high, float(mono.max()))
        spread = max(spread, highest - lowest)
        yield mono
    _check_end(track, start, end, count, limits, name)
    if high - low <= _SILENT_SPREAD:
        reason = (
            "its channels cancel each other, one is inverted" if spread > _SILENT_SPREAD else "it is silent"
        )
        raise MediaError("audio_silent", f"{name}: {reason}; check the microphone and the export")


def _resample(blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Mono blocks [n] at `rate` to 16 kHz, as one continuous signal, clipped to [-1, 1]."""
    if rate == SAMPLE_RATE:
        yield from (np.clip(block, -1.0, 1.0) for block in blocks)
        return
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield np.clip(stream.resample_chunk(np.ascontiguousarray(block)), -1.0, 1.0)
    yield np.clip(stream.resample_chunk(np.zeros(0, np.float32), last=True), -1.0, 1.0)


def _regroup(blocks: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples in blocks of `size`; the last may be shorter."""
    pending: list[np.ndarray] = []
    count = 0
    for block in blocks:
        pending.append(block)
        count += len(block)
        if count >= size:
            joined = np.concatenate(pending)
            whole = count - count % size
            for at in range(0, whole, size):
                yield joined[at : at + size]
            pending, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(pending)


# --- refusing -----------------------------------------------------------------------------------------------


def _check_length(track: AudioTrack, start: float, end: float | None, limits: AudioLimits, name: str) -> None:
    """Refuse what the header alone tells, before anything is decoded."""
    if track.seconds is None or track.promised is None:
        return
    if min(track.promised, math.inf if end is None else end) - track.seconds > _MISSING_SECONDS:
        raise_truncated(name, track.promised, track.seconds)
    if 0.0 < track.seconds <= start:
        raise MediaError(
            "audio_too_short",
            f"{name}: the cut starts at {start:g} s and the audio ends at {track.seconds:.2f} s; "
            "choose an earlier start",
        )
    length = min(track.seconds, math.inf if end is None else end) - start
    if length > limits.max_seconds:
        _raise_too_long(name, length, limits)


def _check_samples(peak: float, seconds: float, name: str) -> None:
    if not math.isfinite(peak):
        raise MediaError(
            "audio_not_finite",
            f"{name}: NaN or infinite samples after {seconds:.2f} s; export it again as 16-bit WAV",
        )
    if peak > _HIGHEST_PEAK:
        raise MediaError(
            "audio_corrupt",
            f"{name}: samples as large as {peak:.4g} after {seconds:.2f} s, expected -1 to 1; "
            "divide them by their full scale, or export it again as 16-bit WAV",
        )


def _check_end(
    track: AudioTrack, start: float, end: float | None, count: int, limits: AudioLimits, name: str
) -> None:
    """Refuse what is known only after the last of `count` frames."""
    got = start + count / track.rate
    wanted = min(math.inf if end is None else end, math.inf if track.promised is None else track.promised)
    if track.promised is not None and wanted - got > _MISSING_SECONDS:
        raise_truncated(name, track.promised, got)
    if count == 0 and start == 0.0:
        raise MediaError("audio_empty", f"{name}: holds no audio, only a header; record or export it again")
    if count < round(limits.min_seconds * track.rate):
        raise MediaError(
            "audio_too_short",
            f"{name}: {count / track.rate:.3f} s of audio, expected at least {limits.min_seconds:g} s; "
            "use a longer recording or cut",
        )


def _raise_too_long(name: str, seconds: float | None, limits: AudioLimits) -> NoReturn:
    length = "more audio than" if seconds is None else f"{seconds:.1f} s of audio, more than"
    raise MediaError(
        "audio_too_long",
        f"{name}: {length} the limit of {limits.max_seconds:g} s; cut it into parts, or raise max_seconds",
    )
