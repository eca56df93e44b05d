"""Sound and pictures of MP4, M4A, QuickTime, WebM and Matroska, by PyAV: the `[video]` extra.

Only this file knows PyAV, and only these two families of containers are opened: FFmpeg is not let loose to
guess, and never sees a path or an address. It is a large piece of C all the same: what strangers send is
better decoded by `affetto.media.worker.DecodingWorker`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from affetto.errors import ConfigError, MediaError
from affetto.media.containers import VIDEO, Sniffed, read_header, sniff
from affetto.media.limits import VideoLimits
from affetto.media.sound import AudioTrack, raise_corrupt, raise_truncated
from affetto.media.source import MediaSource, OpenSource, open_source

_DEMUXERS = {"mp4": "mov", "matroska": "matroska"}
# Lossy codecs lap over into the next frame: decoding starts this much before a cut.
_RUN_UP_SECONDS = 1.0
_CLOCK_ERROR = 1e-6


def iter_frames(
    source: MediaSource, *, every: float, limits: VideoLimits = VideoLimits()
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (time in seconds, uint8 RGB [H W 3], upright): the first picture at or after 0, `every`,
    2 x `every`, ... seconds. Memory is that of one picture.

    Raises MediaError when it comes to it: media_not_found, media_unreadable, media_too_large,
    video_unsupported, video_corrupt, video_too_long, image_too_large.
    """
    if not every > 0:
        raise ConfigError("config_invalid", f"every={every}: expected more than 0 seconds")
    with open_source(source, max_bytes=limits.max_bytes) as opened:
        if opened.size == 0:
            raise MediaError("video_corrupt", f"{opened.name}: holds no bytes; record or copy it again")
        sniffed = sniff(opened.file)
        if sniffed.container not in VIDEO:
            raise MediaError(
                "video_corrupt", f"{opened.name}: {sniffed.title}, expected MP4, MOV, WebM or MKV; convert it"
            )
        av = _av(opened.name, sniffed)
        try:
            yield from _pictures(av, opened, sniffed, every, limits)
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise MediaError(
                "video_corrupt", f"{opened.name}: its pictures cannot be decoded ({reason}); copy it again"
            ) from None


def _av(name: str, sniffed: Sniffed) -> Any:
    try:
        import av
    except ImportError:
        raise MediaError(
            "video_unsupported",
            f"{name}: {sniffed.title}, which needs an extra; "
            'run pip install "affetto[video]", or convert it to WAV',
        ) from None
    return av


# --- sound --------------------------------------------------------------------------------------------------


@contextmanager
def open_audio_track(opened: OpenSource, sniffed: Sniffed) -> Iterator[AudioTrack]:
    """Open the first audio track. Channels are kept: FFmpeg's own mix-down makes stereo 3 dB louder.

    Raises MediaError: video_unsupported, audio_empty (no audio track), audio_truncated, audio_corrupt.
    """
    av = _av(opened.name, sniffed)
    header = read_header(opened.file, opened.size, sniffed)
    opened.file.seek(0)
    try:
        container = av.open(opened.file, format=_DEMUXERS[sniffed.container])
    except (av.FFmpegError, ValueError) as error:
        if header.cut:
            raise_truncated(opened.name, math.inf, None)
        raise_corrupt(opened.name, sniffed, error)
    with container:
        if not container.streams.audio:
            raise MediaError("audio_empty", f"{opened.name}: holds no audio track; use one with sound")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise_corrupt(opened.name, sniffed, "its audio codec is not known")
        stream.codec_context.thread_count = 1
        seconds = None
        if sniffed.container == "mp4" and stream.duration and not header.live:
            seconds = float(stream.duration * stream.time_base)
        promised = seconds or (math.inf if header.cut else None)

        def read(start: int, count: int | None) -> Iterator[np.ndarray]:
            try:
                # Matroska's clock counts milliseconds, too coarse to find a sample by.
                seekable = sniffed.container == "mp4" and not (header.live or header.cut)
                yield from _read_blocks(container, stream, start, count, seekable)
            except (av.FFmpegError, ValueError) as error:
                if not header.cut:  # else this is its end, and what was promised tells how much is missing
                    raise_corrupt(opened.name, sniffed, error)

        yield AudioTrack(
            stream.rate, stream.codec_context.channels, None if header.cut else seconds, promised, read
        )


def _read_blocks(
    container: Any, stream: Any, start: int, count: int | None, seekable: bool
) -> Iterator[np.ndarray]:
    """Blocks of float32 [n channels] of frames [start, start + count)."""
    rate, channels = stream.rate, stream.codec_context.channels
    origin = stream.start_time or 0
    run_up = round(_RUN_UP_SECONDS * rate)
    seeking = seekable and start > 5 * run_up
    if seeking:
        container.seek(origin + int((start - run_up) / rate / stream.time_base), stream=stream)
    stop = math.inf if count is None else start + count
    at = None if seeking else 0
    for frame in container.decode(stream):
        if frame.sample_rate != rate or frame.layout.nb_channels != channels:
            raise ValueError("its rate or channels change on the way")
        if at is None:
            if frame.pts is None:
                raise ValueError("it tells no times")
            at = round(float((frame.pts - origin) * stream.time_base) * rate)
        block = _samples(frame, channels)
        if at + len(block) > start:
            yield block[max(start - at, 0) : int(min(stop - at, len(block)))]
        at += len(block)
        if at >= stop:
            return


def _samples(frame: Any, channels: int) -> np.ndarray:
    """float32 [n channels] of one decoded frame, whatever its sample format."""
    values = frame.to_ndarray()  # planar [channels n], packed [1 n * channels]
    values = values.T if frame.format.is_planar else values.reshape(-1, channels)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128.0) / 128.0
    if np.issubdtype(values.dtype, np.integer):
        return (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)
    return np.ascontiguousarray(values, dtype=np.float32)


# --- pictures -----------------------------------------------------------------------------------------------


def _pictures(
    av: Any, opened: OpenSource, sniffed: Sniffed, every: float, limits: VideoLimits
) -> Iterator[tuple[float, np.ndarray]]:
    opened.file.seek(0)
    with av.open(opened.file, format=_DEMUXERS[sniffed.container]) as container:
        if not container.streams.video:
            raise MediaError(
                "video_without_pictures",
                f"{opened.name}: holds no pictures, only sound; give it as a recording",
            )
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ValueError("its codec is not known")
        stream.codec_context.thread_count = 1
        _check_pixels(stream.codec_context, limits, opened.name)
        origin = float((stream.start_time or 0) * stream.time_base)
        due, taken = 0.0, 0
        for frame in container.decode(stream):
            if frame.time is None or frame.time - origin < due - _CLOCK_ERROR:
                continue
            seconds = frame.time - origin
            if seconds > limits.max_seconds or taken == limits.max_frames:
                raise MediaError(
                    "video_too_long",
                    f"{opened.name}: more than {limits.max_seconds:g} s or {limits.max_frames} pictures; "
                    "cut it into parts, take fewer, or raise the limits",
                )
            _check_pixels(frame, limits, opened.name)  # again: a stream may change its size
            picture = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            yield max(seconds, 0.0), np.ascontiguousarray(picture)
            due, taken = (math.floor(seconds / every + _CLOCK_ERROR) + 1) * every, taken + 1


def _check_pixels(pictured: Any, limits: VideoLimits, name: str) -> None:
    if pictured.width * pictured.height > limits.max_pixels:
        raise MediaError(
            "image_too_large",
            f"{name}: pictures of {pictured.width} x {pictured.height} pixels, expected at most "
            f"{limits.max_pixels:,} in all; make it smaller, or raise max_pixels",
        )
