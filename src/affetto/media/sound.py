"""libsndfile behind one type: an `AudioTrack` is the raw audio of an open file, read block by block.

`affetto.media.video` makes the same type of what PyAV decodes; `affetto.media.audio` turns either into
16 kHz mono.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import numpy as np
import soundfile

from affetto.errors import MediaError
from affetto.media.containers import Header, Sniffed, mp3_length_frame, read_header
from affetto.media.source import OpenSource

MIN_RATE, MAX_RATE = 8_000, 192_000
MAX_CHANNELS = 8

_BLOCK_FRAMES = 65_536


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """The audio of an open file. `read(start, count)` yields float32 blocks [n channels] of at most `count`
    frames (None: all) from frame `start` on. `seconds` is what the file is believed to hold and `promised`
    what its header says it holds (infinity: more, but not how much); None where only decoding can tell."""

    rate: int
    channels: int
    seconds: float | None
    promised: float | None
    read: Callable[[int, int | None], Iterator[np.ndarray]]


def check_layout(rate: int, channels: int, name: str) -> None:
    """Refuse rates and channel counts that are not those of recorded speech.

    Raises MediaError: audio_rate_unsupported, audio_channels_unsupported.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise MediaError(
            "audio_rate_unsupported",
            f"{name}: a sample rate of {rate} Hz, expected {MIN_RATE} to {MAX_RATE} Hz; "
            "export it again at 16000 or 48000 Hz",
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise MediaError(
            "audio_channels_unsupported",
            f"{name}: {channels} channels, expected 1 to {MAX_CHANNELS}; mix it down to mono or stereo",
        )


def raise_truncated(name: str, promised: float, held: float | None) -> NoReturn:
    """Raise audio_truncated. `promised` and `held` in seconds; infinite and None where nobody can tell."""
    says = "more audio" if math.isinf(promised) else f"{promised:.2f} s of audio"
    holds = "" if held is None else f" and it holds {held:.2f} s"
    end = math.floor(100 * held) / 100 if held else 0.0
    rest = f", or take the part that is there with end={end:g}" if end else ""
    raise MediaError(
        "audio_truncated", f"{name}: cut short, its header promises {says}{holds}; copy it again{rest}"
    )


def raise_corrupt(name: str, sniffed: Sniffed, error: object) -> NoReturn:
    """Raise audio_corrupt with what the decoder said."""
    said = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    reason = " ".join(said.removeprefix("Error : ").split()).rstrip(".")
    raise MediaError(
        "audio_corrupt",
        f"{name}: {sniffed.title} that cannot be decoded ({reason}); export or copy it again",
    ) from None


@contextmanager
def open_sound_track(opened: OpenSource, sniffed: Sniffed) -> Iterator[AudioTrack]:
    """Open WAV, FLAC, Ogg or MP3. Damage that only decoding can tell is raised by the track's `read`.

    Raises MediaError: audio_rate_unsupported, audio_channels_unsupported, audio_truncated, audio_corrupt.
    """
    header = read_header(opened.file, opened.size, sniffed)
    # Before libsndfile sees it: a lying header is refused by what it says.
    check_layout(
        MIN_RATE if header.rate is None else header.rate,
        1 if header.channels is None else header.channels,
        opened.name,
    )
    if header.chained:
        raise MediaError(
            "audio_corrupt",
            f"{opened.name}: an Ogg file of several streams, of which only the first would be heard; "
            "convert it to WAV or FLAC",
        )
    prefix = mp3_length_frame(opened.file, sniffed.offset) if sniffed.container == "mp3" else b""
    try:
        sound = soundfile.SoundFile(_View(opened.file, prefix, sniffed.offset))
    except (soundfile.SoundFileError, RuntimeError) as error:
        starved = sniffed.container == "flac" and opened.file.tell() >= opened.size
        if header.cut or starved:
            raise_truncated(opened.name, math.inf, None)
        raise_corrupt(opened.name, sniffed, error)
    with sound:
        if _container(sound.format) != sniffed.container:
            raise_corrupt(opened.name, sniffed, f"its bytes are also {sound.format}")
        yield _describe(sound, header, opened, sniffed, endless=bool(prefix))


def _container(format: str) -> str:
    return {"WAVEX": "wav", "RF64": "wav"}.get(format, format.lower())


def _describe(
    sound: soundfile.SoundFile, header: Header, opened: OpenSource, sniffed: Sniffed, *, endless: bool
) -> AudioTrack:
    """`endless`: the length that libsndfile gives is the one we told it."""
    # After every read soundfile seeks to where it already is. In an MP3 that restarts the decoder, which
    # loses the bits it had saved and complains on standard error. Without seeking it has no reason to.
    sound.seekable = lambda: False
    # A FLAC stream of unknown length is reported as the largest number there is.
    known = not endless and sound.frames < 2**62
    seconds = sound.frames / sound.samplerate if known else None
    promised = None if seconds is None else (math.inf if header.cut else seconds * header.promised)

    def read(start: int, count: int | None) -> Iterator[np.ndarray]:
        try:
            if sniffed.container == "mp3":  # its seeking is a guess, see above
                for _ in _read_blocks(sound, start):
                    pass
            else:
                sound.seek(start)
            yield from _read_blocks(sound, count)
        except (soundfile.SoundFileError, RuntimeError) as error:
            if opened.file.tell() >= opened.size:  # the decoder asked for more than there is
                raise_truncated(opened.name, math.inf, None)
            raise_corrupt(opened.name, sniffed, error)

    return AudioTrack(sound.samplerate, sound.channels, seconds, promised, read)


def _read_blocks(sound: soundfile.SoundFile, count: int | None) -> Iterator[np.ndarray]:
    """Blocks of float32 [n channels] until `count` frames (None: all) or the end."""
    left = math.inf if count is None else count
    while left > 0:
        wanted = int(min(_BLOCK_FRAMES, left))
        block = sound.read(wanted, dtype="float32", always_2d=True)
        if len(block) == 0:
            return
        left -= len(block)
        yield block


class _View(io.RawIOBase):
    """`prefix`, then `file` from `offset` on; without a name, whose suffix soundfile would believe."""

    def __init__(self, file: BinaryIO, prefix: bytes, offset: int) -> None:
        self._file, self._prefix, self._offset = file, prefix, offset
        self._at = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: 0}[whence]
        if whence == io.SEEK_END:
            base = self._file.seek(0, io.SEEK_END) - self._offset + len(self._prefix)
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = memoryview(buffer).cast("B")
        ready = self._prefix[self._at : self._at + len(wanted)]
        wanted[: len(ready)] = ready
        self._at += len(ready)
        if len(ready) == len(wanted):
            return len(ready)
        self._file.seek(self._offset + self._at - len(self._prefix))
        rest = self._file.read(len(wanted) - len(ready))
        wanted[len(ready) : len(ready) + len(rest)] = rest
        self._at += len(rest)
        return len(ready) + len(rest)
