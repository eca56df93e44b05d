"""Small media made on the spot, sound and broken, with the tools that the decoders are checked against."""

from __future__ import annotations

import io
import struct
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from PIL import Image


def tone(rate: int = 16_000, seconds: float = 1.0, channels: int = 1, hertz: float = 440.0) -> np.ndarray:
    """A sine at half of full scale, float32 [n channels]."""
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def noise(rate: int = 16_000, seconds: float = 1.0, channels: int = 1, seed: int = 0) -> np.ndarray:
    """White noise, float32 [n channels], which nothing compresses and every sample of which differs."""
    generator = np.random.default_rng(seed)
    return generator.uniform(-0.5, 0.5, (round(rate * seconds), channels)).astype(np.float32)


def encode(samples: np.ndarray, rate: int = 16_000, format: str = "WAV", subtype=None, **options) -> bytes:
    """The bytes of a file that libsndfile writes."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype, **options)
    return file.getvalue()


def wav(
    data: bytes, *, rate: int = 16_000, channels: int = 1, bits: int = 16, tag: int = 1, promised=None
) -> bytes:
    """A WAV whose header says what we please; `promised` is the length of data that it promises."""
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * frame & 0xFFFFFFFF, frame & 0xFFFF, bits)
    promised = len(data) if promised is None else promised
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", promised) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def pcm(samples: np.ndarray) -> bytes:
    """16-bit little-endian samples."""
    return (samples * 32767).astype("<i2").tobytes()


def flac_length(flac: bytes, frames: int) -> bytes:
    """The same FLAC, whose header says that it holds `frames` (0: unknown)."""
    packed = int.from_bytes(flac[18:26], "big") >> 36 << 36 | frames
    return flac[:18] + packed.to_bytes(8, "big") + flac[26:]


def picture(format: str, pixels: np.ndarray, mode: str | None = None, **options) -> bytes:
    """The bytes of a picture that Pillow writes."""
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, format, **options)
    return file.getvalue()


def scene(height: int = 24, width: int = 32) -> np.ndarray:
    """uint8 [H W 3], smooth (so that JPEG keeps it) and different in each corner."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.stack([255 * x, 255 * y, 255 * (1 - x) * (1 - y)], axis=2).astype(np.uint8)


def png_bomb(width: int, height: int) -> bytes:
    """A one-bit PNG: some 20 KB that unfold to 169 megapixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = zlib.compress(bytes((1 + -(-width // 8)) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """The makers of this file (test modules cannot import one another)."""
    makers = (tone, noise, encode, wav, pcm, flac_length, picture, scene, png_bomb)
    return SimpleNamespace(**{maker.__name__: maker for maker in makers})
