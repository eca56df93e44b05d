"""What media are refused for. Apart from the decoders, so that who hands limits to a `DecodingWorker` need
not load a codec."""

from __future__ import annotations

from dataclasses import dataclass

#: The one rate of decoded audio, in Hz.
SAMPLE_RATE = 16_000


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """What is refused: more than `max_seconds` or less than `min_seconds` of decoded audio (of the cut,
    where one is asked for), and more than `max_bytes` of encoded audio held in memory (bytes, standard
    input, zip members; a plain file is read piecewise and may have any size)."""

    max_seconds: float = 3600.0
    min_seconds: float = 0.1
    max_bytes: int = 256 * 2**20


#: For who reads sound block by block (`iter_audio`) and so holds none of it: a day. An hour, the limit of
#: `AudioLimits()`, is what is still good to hold in memory whole (230 MB).
LONG_AUDIO = AudioLimits(max_seconds=86_400.0)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused: more than `max_pixels` (a 24-megapixel photograph passes), or a file of more than
    `max_bytes`."""

    max_pixels: int = 25_000_000
    max_bytes: int = 64 * 2**20


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """What is refused: pictures later than `max_seconds`, more than `max_frames` of them, pictures of more
    than `max_pixels` (4K passes), and more than `max_bytes` of encoded video held in memory."""

    max_seconds: float = 3600.0
    max_frames: int = 36_000
    max_pixels: int = 10_000_000
    max_bytes: int = 256 * 2**20


#: For who takes pictures one by one and holds none of them: a day, at ten a second.
LONG_VIDEO = VideoLimits(max_seconds=86_400.0, max_frames=864_000)
