"""Bad inputs with names, each with its own cause and the code that it is refused with. Made, not stored.

`http_inputs`, `raw_inputs` and `stream_inputs` make them; tests/serving/test_bad_inputs.py sends them.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from serving.running import BOUNDARY, form

RATE = 16_000
JSON = {"Content-Type": "application/json"}
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
INFER = "/v2/models/plain/infer"


@dataclass(frozen=True)
class Http:
    """A request that an HTTP client can send; `body` is made when it is needed."""

    name: str
    code: str
    method: str = "POST"
    path: str = "/predict"
    headers: dict[str, str] = field(default_factory=dict)
    body: Callable[[], bytes] | bytes | None = None


@dataclass(frozen=True)
class Raw:
    """Bytes on a connection."""

    name: str
    code: str
    data: bytes


@dataclass(frozen=True)
class Stream:
    """Messages of a WebSocket: str and bytes; the code of the error and of the close."""

    name: str
    code: str
    close: int
    messages: tuple[Any, ...]


def http_inputs() -> Iterator[Http]:
    """Everything that goes through an HTTP client."""
    yield from _media(_audio(), "audio_file", "audio")
    yield from _media(_pictures(), "image_file", "image")
    yield from _forms()
    yield from _queries()
    yield from _json_bodies()
    yield from _batches()
    yield from _tensors()
    yield from _routes()


def _media(cases: Any, name: str, kind: str) -> Iterator[Http]:
    for case, code, data in cases:
        body, headers = form(**{name: ("f", data)})
        yield Http(f"{kind}: {case}", code, headers=headers, body=body)


# --- sound ---


def tone(seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> np.ndarray:
    wave = 0.3 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def encode(samples: np.ndarray, rate: int = RATE, **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", "subtype": "PCM_16", **options})
    return file.getvalue()


def wav(
    data: bytes = b"",
    *,
    tag: int = 1,
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    size: int | None = None,
) -> bytes:
    """A WAV file written by hand, whose header may say anything."""
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", tag, channels, rate, (rate * block) & 0xFFFFFFFF, block & 0xFFFF, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _audio() -> Iterator[tuple[str, str, bytes]]:
    good, second = encode(tone()), b"\x01\x02" * RATE
    yield "no bytes", "audio_empty", b""
    yield from _audio_headers(good, second)
    yield from _audio_samples()
    yield from _audio_containers()
    yield from _other_files()
    for format, subtype, name in (
        ("FLAC", "PCM_16", "FLAC"),
        ("OGG", "VORBIS", "Vorbis"),
        ("MP3", "MPEG_LAYER_III", "MP3"),
    ):
        whole = encode(tone(3.0), format=format, subtype=subtype)
        yield f"{name} of 40 bytes", "audio_truncated", whole[:40]
        code = "audio_truncated" if format == "FLAC" else "audio_corrupt"
        yield f"{name} whose frames are zeros", code, whole[: len(whole) // 4] + bytes(len(whole) // 2)
        yield f"{name} cut in the middle", "audio_truncated", whole[: len(whole) // 2]
        yield f"{name} too long", "audio_too_long", encode(tone(21.0), format=format, subtype=subtype)
        yield f"{name} of silence", "audio_silent", encode(0 * tone(1.0), format=format, subtype=subtype)
        yield f"{name} of 50 ms", "audio_too_short", encode(tone(0.05), format=format, subtype=subtype)


def _audio_headers(good: bytes, second: bytes) -> Iterator[tuple[str, str, bytes]]:
    for count in (1, 4, 11, 12, 20, 43):
        code = "audio_unknown_format" if count < 12 else "audio_truncated"
        yield f"the first {count} bytes of a WAV", code, good[:count]
    yield "a header and no data", "audio_empty", wav()
    yield "one sample", "audio_too_short", wav(b"\1\2")
    yield "99 ms", "audio_too_short", wav(b"\1\2" * 1584)
    yield "half a WAV", "audio_truncated", good[: len(good) // 2]
    yield "2 GB promised, 160 frames held", "audio_truncated", wav(second[:320], size=2**31 - 2**17)
    yield "a length of 1 GB", "audio_truncated", wav(second, size=2**30)
    yield "20 s promised, one held", "audio_truncated", wav(second, size=20 * 32_000)
    for rate in (0, 1, 1000, 7999, 192_001, 384_000, 4_000_000_000):
        yield f"a rate of {rate} Hz", "audio_rate_unsupported", wav(second, rate=rate)
    for channels in (0, 9, 32, 1025, 65535):
        yield f"{channels} channels", "audio_channels_unsupported", wav(second, channels=channels)
    for bits in (0, 128):
        yield f"{bits} bits a sample", "audio_corrupt", wav(second, bits=bits)
    for tag, name in ((0, "none"), (0x55, "MP3"), (0x161, "WMA"), (0xFFFF, "private"), (0x674F, "Ogg")):
        yield f"WAV of codec {name}", "audio_corrupt", wav(second, tag=tag)
    yield "no fmt chunk", "audio_corrupt", b"RIFF\x24\0\0\0WAVEdata" + struct.pack("<I", len(second)) + second
    yield "no data chunk", "audio_truncated", good[:36]
    yield (
        "an fmt chunk of 2 bytes",
        "audio_corrupt",
        b"RIFF\x20\0\0\0WAVEfmt \2\0\0\0\1\0data\4\0\0\0\1\2\3\4",
    )
    yield "a thousand chunks", "audio_truncated", b"RIFF\x24\0\0\0WAVE" + b"junk\2\0\0\0ab" * 1001


def _audio_samples() -> Iterator[tuple[str, str, bytes]]:
    floats = {"subtype": "FLOAT"}
    for name, value in (("NaN", np.nan), ("inf", np.inf), ("-inf", -np.inf)):
        samples = tone()
        samples[8000] = value
        yield f"a sample of {name}", "audio_not_finite", encode(samples, **floats)
    yield "all NaN", "audio_not_finite", encode(tone() * np.nan, **floats)
    yield "samples of 1e30", "audio_corrupt", encode(tone() * 1e30, **floats)
    yield "16-bit numbers as floats", "audio_corrupt", encode(tone() * 32767, **floats)
    yield "doubles of 1e300", "audio_not_finite", encode(tone().astype(float) * 1e300, subtype="DOUBLE")
    yield "silence", "audio_silent", encode(0 * tone())
    yield "a constant", "audio_silent", encode(0 * tone() + 0.5)
    yield "denormals", "audio_silent", encode(tone() * 1e-40, **floats)
    left = tone()
    yield "channels that cancel", "audio_silent", encode(np.hstack([left, -left]))
    yield "20.1 s, the limit being 20", "audio_too_long", encode(tone(20.1))


def _audio_containers() -> Iterator[tuple[str, str, bytes]]:
    for format in (
        "AU",
        "AIFF",
        "W64",
        "CAF",
        "PAF",
        "SVX",
        "NIST",
        "IRCAM",
        "AVR",
        "MAT4",
        "MAT5",
        "PVF",
        "HTK",
    ):
        yield f"a {format} file", "audio_unknown_format", encode(tone(), format=format)
    ogg = encode(tone(), format="OGG", subtype="VORBIS")
    yield (
        "two Ogg streams after one another",
        "audio_corrupt",
        ogg + encode(tone(), format="OGG", subtype="VORBIS"),
    )
    yield (
        "an Ogg page of another codec",
        "audio_corrupt",
        b"OggS\0\2" + bytes(20) + b"\1\x1e\x01video" + bytes(200),
    )
    yield "an ID3 tag and nothing", "audio_truncated", b"ID3\4\0\0\0\0\0\x0a" + bytes(10)
    yield "an ID3 tag of 250 MB", "audio_truncated", b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(1000)
    yield "a FLAC marker and zeros", "audio_rate_unsupported", b"fLaC" + bytes(1000)
    yield "an MP4", "video_unsupported", b"\0\0\0\x18ftypmp42" + bytes(100)
    yield "an M4A", "video_unsupported", b"\0\0\0\x18ftypM4A " + bytes(100)
    yield "a WebM", "video_unsupported", b"\x1aE\xdf\xa3" + bytes(100)
    yield "a QuickTime film", "video_unsupported", b"\0\0\0\x08wide\0\0\0\x08mdat" + bytes(100)


def _other_files() -> Iterator[tuple[str, str, bytes]]:
    others = {
        "a JPEG": b"\xff\xd8\xff\xe0" + bytes(100),
        "a PNG": picture("PNG"),
        "a GIF": b"GIF89a" + bytes(100),
        "a TIFF": b"II*\0" + bytes(100),
        "a PDF": b"%PDF-1.7\n" + bytes(100),
        "PostScript": b"%!PS-Adobe\n",
        "a zip": b"PK\3\4" + bytes(100),
        "a gzip": b"\x1f\x8b\x08" + bytes(100),
        "a playlist": b"#EXTM3U\nhttp://127.0.0.1/a.wav\n",
        "an address": b"http://127.0.0.1/a.wav",
        "a local path": b"/etc/passwd",
        "a web page": b"<!DOCTYPE html><html>",
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "XML with an entity": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
        "JSON": b'{"a": 1}',
        "text": b"hello",
        "an ELF program": b"\x7fELF" + bytes(100),
        "a pickle": b"\x80\x04\x95" + bytes(100),
        "Windows Media": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(100),
        "AVI": b"RIFF\x24\0\0\0AVI " + bytes(100),
        "AMR": b"#!AMR\n" + bytes(100),
        "MIDI": b"MThd\0\0\0\6" + bytes(100),
        "zeros": bytes(5000),
        "ones": b"\xff" * 5000,
        "noise": bytes(np.random.default_rng(0).integers(32, 255, 3000, dtype=np.uint8) | 128),
        "raw samples": (tone() * 20000).astype("<i2").tobytes(),
    }
    for name, data in others.items():
        yield name, "audio_unknown_format", data


# --- pictures ---


def picture(format: str = "PNG", size: tuple[int, int] = (64, 64), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 128 if mode == "L" else None).save(file, format)
    return file.getvalue()


def png(width: int, height: int, bits: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    """A PNG written by hand, whose header may say anything."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def _pictures() -> Iterator[tuple[str, str, bytes]]:
    whole = picture("PNG", (256, 256))
    yield "no bytes", "image_empty", b""
    for width, height in ((0, 0), (0, 64), (64, 0)):
        yield f"PNG of {width} x {height}", "image_corrupt", png(width, height)
    for width, height in (
        (13_000, 13_000),
        (65_535, 65_535),
        (2**31 - 1, 1),
        (25_000_001, 1),
        (1, 2**31 - 1),
    ):
        yield f"PNG of {width} x {height}", "image_too_large", png(width, height, 1, 0)
    yield "169 megapixels in 20 KB", "image_too_large", png(13_000, 13_000, 1, 0, bytes(13_000 * 1626))
    yield "PNG without pixels", "image_corrupt", png(64, 64)
    yield "PNG with too few pixels", "image_corrupt", png(64, 64, data=bytes(100))
    yield "PNG of 3 bits", "image_corrupt", png(64, 64, bits=3)
    yield "PNG of colour type 9", "image_corrupt", png(64, 64, colour=9)
    yield "PNG whose checksum is wrong", "image_corrupt", whole[:30] + b"\0\0" + whole[32:]
    for count in (1, 8, 20, 33, 60):
        code = "image_unknown_format" if count < 8 else "image_corrupt"
        yield f"the first {count} bytes of a PNG", code, whole[:count]
    for format in ("JPEG", "WEBP"):
        data = picture(format, (256, 256))
        yield f"half a {format}", "image_corrupt", data[: len(data) // 2]
        yield f"20 bytes of a {format}", "image_corrupt", data[:20]
    jpeg = picture("JPEG")
    yield "JPEG that is only a marker", "image_corrupt", b"\xff\xd8\xff"
    yield "JPEG of 65,535 x 65,535", "image_too_large", _jpeg_of(jpeg, 65_535, 65_535)
    yield "JPEG of 0 x 0", "image_corrupt", _jpeg_of(jpeg, 0, 0)
    for format in ("GIF", "BMP", "TIFF", "ICO", "PPM", "TGA", "PCX", "JPEG2000", "SGI"):
        yield f"a {format} picture", "image_unknown_format", picture(format)
    others = {
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "a PDF": b"%PDF-1.7",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0",
        "FITS": b"SIMPLE  =                    T",
        "Photoshop": b"8BPS\0\1" + bytes(100),
        "HEIC": b"\0\0\0\x18ftypheic" + bytes(100),
        "AVIF": b"\0\0\0\x18ftypavif" + bytes(100),
        "an address": b"http://127.0.0.1/face.png",
        "a WAV": encode(tone()),
        "text": b"hello",
        "a zip": b"PK\3\4" + bytes(100),
        "zeros": bytes(100),
    }
    for name, data in others.items():
        yield name, "image_unknown_format", data
    yield "a film", "video_unsupported", b"\0\0\0\x18ftypisom" + bytes(100)
    yield "Matroska", "video_unsupported", b"\x1aE\xdf\xa3" + bytes(100)


def _jpeg_of(jpeg: bytes, width: int, height: int) -> bytes:
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


# --- forms ---


def _part(headers: str, data: bytes = b"happy") -> bytes:
    return f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def _forms() -> Iterator[Http]:
    text = 'Content-Disposition: form-data; name="text"'
    end = f"--{BOUNDARY}--\r\n".encode()
    opened = f"--{BOUNDARY}\r\n".encode()
    bodies = {
        ("no bytes", "body_invalid"): b"",
        ("no boundary in the body", "body_invalid"): b"text=happy",
        ("another boundary", "body_invalid"): _part(text).replace(BOUNDARY.encode(), b"x" * 10),
        ("no last boundary", "body_invalid"): _part(text)[: -len(end) - 2],
        ("the last boundary without dashes", "body_invalid"): _part(text)[:-4] + b"\r\n",
        ("a cut in the headers", "body_invalid"): opened + b"Content-Dispo",
        ("a header without a colon", "body_invalid"): opened + b"Content-Disposition\r\n\r\nx\r\n" + end,
        ("a header with a space in its name", "body_invalid"): opened
        + b"Content Disposition: x\r\n\r\nx\r\n"
        + end,
        ("bare line feeds", "body_invalid"): _part(text).replace(b"\r\n", b"\n"),
        ("bare carriage returns", "body_invalid"): _part(text).replace(b"\r\n", b"\r"),
        ("no Content-Disposition", "body_invalid"): _part("Content-Type: text/plain"),
        ("a part without a name", "body_invalid"): _part("Content-Disposition: form-data"),
        ("an attachment", "body_invalid"): _part('Content-Disposition: attachment; name="text"'),
        ("a name in the extended form only", "body_invalid"): _part(
            "Content-Disposition: form-data; name*=UTF-8''text"
        ),
        ("no parts", "nothing_to_predict"): end,
        ("an unknown field", "field_unknown"): form(audio="x")[0],
        ("a field in capitals", "field_unknown"): form(TEXT="happy")[0],
        ("a field with brackets", "field_unknown"): form(**{"text[]": "happy"})[0],
        ("a field with an empty name", "field_unknown"): form(**{"": "happy"})[0],
        ("an address instead of sound", "field_unknown"): form(audio_url="http://127.0.0.1/a.wav")[0],
        ("the text twice", "field_twice"): form(text="happy")[0][: -len(end)] + form(text="sad")[0],
        ("sound twice", "field_twice"): form(audio_file=b"a")[0][: -len(end)] + form(audio_file=b"b")[0],
        ("17 parts", "parts_too_many"): form(**{f"a{n}": "x" for n in range(17)})[0],
        ("10,000 parts", "parts_too_many"): form(**{f"a{n}": "x" for n in range(10_000)})[0],
        ("a header of 1 MB", "body_invalid"): _part(text + "; x=" + "a" * 2**20),
        ("100 headers in a part", "body_invalid"): _part(text + "\r\nX-A: b" * 100),
        ("a part in base64", "encoding_unsupported"): _part(text + "\r\nContent-Transfer-Encoding: base64"),
        ("a quoted-printable part", "encoding_unsupported"): _part(
            text + "\r\nContent-Transfer-Encoding: quoted-printable"
        ),
        ("a text that is not UTF-8", "value_invalid"): form(text=("t", b"\xff\xfe"))[0],
        ("a text in UTF-16", "value_invalid"): form(text=("t", "happy".encode("utf-16")))[0],
        ("a text of spaces", "text_empty"): form(text="   ")[0],
        ("a text of line ends", "text_empty"): form(text="\r\n\r\n")[0],
        ("a text of zero-width spaces", "text_empty"): form(text="\u200b" * 9)[0],
        ("20,001 characters", "text_too_long"): form(text="a" * 20_001)[0],
        ("100,000 combining marks", "text_too_long"): form(text="a" + "\u0301" * 100_000)[0],
        ("an empty text", "nothing_to_predict"): form(text="")[0],
        ("timeline of maybe", "value_invalid"): form(text="happy", timeline="maybe")[0],
        ("timeline of 2", "value_invalid"): form(text="happy", timeline="2")[0],
        ("an unknown label", "label_unknown"): form(text="happy", labels="hungry")[0],
        ("an empty label among labels", "label_unknown"): form(text="happy", labels="happy,,sad")[0],
        ("labels of 2,000 characters", "value_invalid"): form(text="happy", labels="x" * 2000)[0],
        ("labels in JSON", "label_unknown"): form(text="happy", labels='["happy"]')[0],
        ("a language of 2,000 characters", "value_invalid"): form(text="happy", language="x" * 2000)[0],
        ("timeout of 0", "value_invalid"): form(text="happy", timeout_ms="0")[0],
        ("timeout of -1", "value_invalid"): form(text="happy", timeout_ms="-1")[0],
        ("timeout of half a millisecond", "value_invalid"): form(text="happy", timeout_ms="0.5")[0],
        ("timeout of words", "value_invalid"): form(text="happy", timeout_ms="soon")[0],
        ("timeout of 10^30", "value_invalid"): form(text="happy", timeout_ms="1" + "0" * 30)[0],
        ("timeout of NaN", "value_invalid"): form(text="happy", timeout_ms="nan")[0],
        ("words that are no words", "words_invalid"): form(text="happy", words=b"\0\1\2")[0],
        ("words that are an unknown format", "words_invalid"): form(text="happy", words=b"hello world")[0],
        ("words of JSON that is cut", "words_invalid"): form(text="happy", words=b'[{"text": "a", "sta')[0],
        ("words of more than 1 MiB", "body_too_large"): form(text="happy", words=b" " * (2**20 + 1))[0],
        ("words that were said before the beginning", "nothing_to_predict"): form(
            words='[{"text": "happy", "start": -5, "end": -1}]'
        )[0],
        ("a picture as sound", "audio_unknown_format"): form(audio_file=picture())[0],
        ("sound as a picture", "image_unknown_format"): form(image_file=encode(tone()))[0],
        ("sound sent as a text", "audio_unknown_format"): form(audio_file="call.wav")[0],
        ("5 MB, the limit being 4", "body_too_large"): form(audio_file=bytes(5 * 2**20))[0],
    }
    for (name, code), body in bodies.items():
        yield Http(f"form: {name}", code, headers=MULTIPART, body=body)
    types = {
        "multipart without a boundary": ("multipart/form-data", "body_invalid"),
        "an empty boundary": ("multipart/form-data; boundary=", "body_invalid"),
        "a boundary of 300 characters": (f"multipart/form-data; boundary={'x' * 300}", "body_invalid"),
        "a boundary with a line feed": ('multipart/form-data; boundary="a\tb"', "body_invalid"),
        "multipart/mixed": (f"multipart/mixed; boundary={BOUNDARY}", "media_type_unsupported"),
        "audio/wav": ("audio/wav", "media_type_unsupported"),
        "text/plain": ("text/plain", "media_type_unsupported"),
        "application/octet-stream": ("application/octet-stream", "media_type_unsupported"),
        "application/xml": ("application/xml", "media_type_unsupported"),
        "nonsense": (";;;", "media_type_unsupported"),
        "application/x-ndjson": ("application/x-ndjson", "media_type_unsupported"),
    }
    for name, (kind, code) in types.items():
        yield Http(f"type: {name}", code, headers={"Content-Type": kind}, body=_part(text))
    yield Http("type: none with a body", "media_type_unsupported", body=_part(text))
    for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "x-unknown"):
        headers = {**MULTIPART, "Content-Encoding": encoding}
        yield Http(f"body encoded by {encoding}", "encoding_unsupported", headers=headers, body=_part(text))
    url = {"Content-Type": "application/x-www-form-urlencoded"}
    for name, code, body in (
        ("bytes beyond ASCII", "body_invalid", "text=\u00e9".encode()),
        ("no equals sign", "body_invalid", b"happy"),
        ("100 fields", "body_invalid", b"&".join(b"a=b" for _ in range(100))),
        ("an unknown field", "field_unknown", b"text=happy&url=x"),
        ("the text twice", "field_twice", b"text=happy&text=sad"),
        ("an audio_file", "audio_unknown_format", b"audio_file=call.wav"),
        ("spaces", "text_empty", b"text=+++"),
        ("3 MiB", "body_too_large", b"text=" + b"a" * 3 * 2**20),
    ):
        yield Http(f"urlencoded: {name}", code, headers=url, body=body)


def _queries() -> Iterator[Http]:
    for query, code in {
        "": "nothing_to_predict",
        "text=": "nothing_to_predict",
        "text=%20": "text_empty",
        "text=happy&text=sad": "field_twice",
        "txt=happy": "field_unknown",
        "audio_url=http://127.0.0.1/": "field_unknown",
        "words=x": "field_unknown",
        "text=happy&timeline=perhaps": "value_invalid",
        "text=happy&timeout_ms=x": "value_invalid",
        "text=happy&labels=none": "label_unknown",
        "text=happy&language=" + "x" * 1001: "value_invalid",
        "__proto__=1": "field_unknown",
    }.items():
        yield Http(
            f"query: {query[:40] or 'none'}", code, path=f"/predict?{query}", headers={"Content-Length": "0"}
        )
    yield Http(
        "query and form both have the text",
        "field_twice",
        path="/predict?text=sad",
        headers=MULTIPART,
        body=form(text="happy")[0],
    )
    yield Http(
        "query and JSON both have the text",
        "field_twice",
        path="/predict?text=sad",
        headers=JSON,
        body=b'{"text": "happy"}',
    )
    yield Http(
        "query of the batch", "field_unknown", path="/v1/predict?text=a", headers=JSON, body=b'{"items": [1]}'
    )


# --- JSON ---


def _json_bodies() -> Iterator[Http]:
    deep = 10_000
    bodies: dict[str, tuple[str, bytes]] = {
        "a brace": ("json_invalid", b"{"),
        "nothing but spaces": ("json_invalid", b"   "),
        "words": ("json_invalid", b"happy"),
        "single quotes": ("json_invalid", b"{'text': 'happy'}"),
        "a comma at the end": ("json_invalid", b'{"text": "happy",}'),
        "a comment": ("json_invalid", b'{"text": "happy"} // no'),
        "two objects": ("json_invalid", b'{"text": "a"}{"text": "b"}'),
        "NaN": ("json_invalid", b'{"timeout_ms": NaN}'),
        "Infinity": ("json_invalid", b'{"timeout_ms": Infinity}'),
        "-Infinity": ("json_invalid", b'{"timeout_ms": -Infinity}'),
        "a name twice": ("json_invalid", b'{"text": "a", "text": "b"}'),
        "10,000 lists deep": ("json_invalid", b"[" * deep + b"]" * deep),
        "10,000 objects deep": ("json_invalid", b'{"a":' * deep + b"1" + b"}" * deep),
        "bytes that are not UTF-8": ("json_invalid", b'{"text": "\xff\xfe"}'),
        "a control character": ("json_invalid", b'{"text": "a\x01"}'),
        "a number of 10,000 digits": ("json_invalid", b'{"timeout_ms": ' + b"9" * 10_000 + b"}"),
        "a bad escape": ("json_invalid", b'{"text": "\\x41"}'),
        "a list": ("value_invalid", b"[]"),
        "a string": ("value_invalid", b'"happy"'),
        "null": ("value_invalid", b"null"),
        "an unknown name": ("value_invalid", b'{"txt": "happy"}'),
        "a text of 1": ("value_invalid", b'{"text": 1}'),
        "a text that is a list": ("value_invalid", b'{"text": ["happy"]}'),
        "a lone surrogate": ("value_invalid", b'{"text": "\\ud800"}'),
        "a lone surrogate in the language": ("value_invalid", b'{"text": "a", "language": "\\udfff"}'),
        "no text": ("nothing_to_predict", b"{}"),
        "a text of null": ("nothing_to_predict", b'{"text": null}'),
        "a text of spaces": ("text_empty", b'{"text": " \\t "}'),
        "a text of NUL": ("text_empty", b'{"text": "\\u0000"}'),
        "20,001 characters": ("text_too_long", json.dumps({"text": "a" * 20_001}).encode()),
        "3 MiB": ("body_too_large", json.dumps({"text": "a" * 3 * 2**20}).encode()),
        "timeline of 1": ("value_invalid", b'{"text": "a", "timeline": 1}'),
        "timeline as text": ("value_invalid", b'{"text": "a", "timeline": "true"}'),
        "labels as text": ("value_invalid", b'{"text": "a", "labels": "happy"}'),
        "no labels at all": ("value_invalid", b'{"text": "a", "labels": []}'),
        "labels that are numbers": ("value_invalid", b'{"text": "a", "labels": [1]}'),
        "33 labels": ("value_invalid", json.dumps({"text": "a", "labels": ["happy"] * 33}).encode()),
        "an unknown label": ("label_unknown", b'{"text": "a", "labels": ["hungry"]}'),
        "a timeout of 0": ("value_invalid", b'{"text": "a", "timeout_ms": 0}'),
        "a timeout of 1.5": ("value_invalid", b'{"text": "a", "timeout_ms": 1.5}'),
        "a timeout of true": ("value_invalid", b'{"text": "a", "timeout_ms": true}'),
        "a timeout as text": ("value_invalid", b'{"text": "a", "timeout_ms": "100"}'),
        "words as text": ("value_invalid", b'{"words": "a b"}'),
        "words without times": ("value_invalid", b'{"words": [{"text": "a"}]}'),
        "a word that starts before 0": (
            "value_invalid",
            b'{"words": [{"text": "a", "start": -1, "end": 2}]}',
        ),
        "a word that ends at 1e300": (
            "value_invalid",
            b'{"words": [{"text": "a", "start": 1, "end": 1e300}]}',
        ),
        "a word that ends at 1e999": (
            "value_invalid",
            b'{"words": [{"text": "a", "start": 1, "end": 1e999}]}',
        ),
        "a word that is empty": ("value_invalid", b'{"words": [{"text": "", "start": 1, "end": 2}]}'),
        "sound in JSON": ("value_invalid", b'{"audio_file": "AAAA"}'),
        "an address in JSON": ("value_invalid", b'{"audio_url": "http://127.0.0.1/a.wav"}'),
    }
    for name, (code, body) in bodies.items():
        yield Http(f"JSON: {name}", code, headers=JSON, body=body)


def _batches() -> Iterator[Http]:
    for name, code, body in (
        ("no items", "value_invalid", b'{"items": []}'),
        ("items missing", "value_invalid", b"{}"),
        ("items as an object", "value_invalid", b'{"items": {"text": "a"}}'),
        ("65 items", "value_invalid", json.dumps({"items": [{"text": "a"}] * 65}).encode()),
        ("an unknown name", "value_invalid", b'{"items": [{"text": "a"}], "item": 1}'),
        ("not JSON", "json_invalid", b"items"),
        ("5 MB", "body_too_large", b" " * 5 * 2**20),
        ("a list of items alone", "value_invalid", b'[{"text": "a"}]'),
    ):
        yield Http(f"batch: {name}", code, path="/v1/predict", headers=JSON, body=body)
    yield Http(
        "batch: as a form",
        "media_type_unsupported",
        path="/v1/predict",
        headers=MULTIPART,
        body=form(text="a")[0],
    )


# --- the Open Inference Protocol ---


def _tensors() -> Iterator[Http]:
    def tensor(**changes: Any) -> dict[str, Any]:
        return {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["happy"], **changes}

    wave = {"name": "waveform", "datatype": "FP32"}
    bodies: dict[str, tuple[str, Any]] = {
        "no inputs": ("tensor_invalid", {}),
        "an empty list of inputs": ("tensor_invalid", {"inputs": []}),
        "inputs that are an object": ("tensor_invalid", {"inputs": {}}),
        "inputs of numbers": ("tensor_invalid", {"inputs": [1]}),
        "a request that is a list": ("tensor_invalid", []),
        "an unknown input": ("tensor_invalid", {"inputs": [tensor(name="input_ids")]}),
        "an input without a name": ("tensor_invalid", {"inputs": [{"shape": [1]}]}),
        "a name that is a number": ("tensor_invalid", {"inputs": [tensor(name=7)]}),
        "text of FP32": ("tensor_invalid", {"inputs": [tensor(datatype="FP32")]}),
        "a waveform of INT16": ("tensor_invalid", {"inputs": [{**wave, "datatype": "INT16", "shape": [1], "data": [1]}]}),
        "no shape": ("tensor_invalid", {"inputs": [tensor(shape=None)]}),
        "an empty shape": ("tensor_invalid", {"inputs": [tensor(shape=[])]}),
        "a shape of three": ("tensor_invalid", {"inputs": [tensor(shape=[1, 1, 1])]}),
        "a shape of -1": ("tensor_invalid", {"inputs": [tensor(shape=[-1])]}),
        "a shape of 0": ("tensor_invalid", {"inputs": [tensor(shape=[0], data=[])]}),
        "a shape of 2^62": ("tensor_invalid", {"inputs": [tensor(shape=[2**62])]}),
        "a shape of true": ("tensor_invalid", {"inputs": [tensor(shape=[True])]}),
        "a shape of 2, one string": ("tensor_invalid", {"inputs": [tensor(shape=[2])]}),
        "no data": ("tensor_invalid", {"inputs": [tensor(data=None)]}),
        "data that is a string": ("tensor_invalid", {"inputs": [tensor(data="happy")]}),
        "data of numbers": ("tensor_invalid", {"inputs": [tensor(data=[1])]}),
        "the text twice": ("tensor_invalid", {"inputs": [tensor(), tensor()]}),
        "batches of 1 and 2": ("tensor_invalid", {"inputs": [tensor(), tensor(name="image", shape=[2], data=["", ""])]}),
        "a batch of 65": ("tensor_invalid", {"inputs": [tensor(shape=[65], data=["a"] * 65)]}),
        "audio and waveform": (
            "tensor_invalid", {"inputs": [tensor(name="audio"), {**wave, "shape": [2], "data": [0, 0]}]}
        ),
        "audio that is no base64": ("value_invalid", {"inputs": [tensor(name="audio")]}),
        "audio that is no sound": (
            "audio_unknown_format",
            {"inputs": [tensor(name="audio", data=[base64.b64encode(b"happy day").decode()])]},
        ),
        "a waveform of strings": ("tensor_invalid", {"inputs": [{**wave, "shape": [1], "data": ["1"]}]}),
        "a waveform of booleans": ("tensor_invalid", {"inputs": [{**wave, "shape": [1], "data": [True]}]}),
        "a ragged waveform": ("tensor_invalid", {"inputs": [{**wave, "shape": [2, 2], "data": [[1, 2], 3]}]}),
        "a waveform shorter than its shape": ("tensor_invalid", {"inputs": [{**wave, "shape": [9], "data": [0.5]}]}),
        "a waveform of 10^400": ("tensor_invalid", {"inputs": [{**wave, "shape": [1], "data": [10**400]}]}),
        "a silent waveform": ("audio_silent", {"inputs": [{**wave, "shape": [8000], "data": [0] * 8000}]}),
        "a waveform of 10 samples": ("audio_too_short", {"inputs": [{**wave, "shape": [10], "data": [0.5] * 10}]}),
        "a waveform of loud samples": ("audio_corrupt", {"inputs": [{**wave, "shape": [2], "data": [9000, -9000]}]}),
        "an unknown output": ("tensor_invalid", {"inputs": [tensor()], "outputs": [{"name": "logits"}]}),
        "outputs of strings": ("tensor_invalid", {"inputs": [tensor()], "outputs": ["emotion"]}),
        "outputs that are a number": ("tensor_invalid", {"inputs": [tensor()], "outputs": 3}),
        "parameters that are a list": ("tensor_invalid", {"inputs": [tensor(parameters=[])]}),
        "an id that is a number": ("tensor_invalid", {"inputs": [tensor()], "id": 3}),
        "a binary size without bytes": ("tensor_invalid", {"inputs": [tensor(parameters={"binary_data_size": 9})]}),
        "a binary size of -1": ("tensor_invalid", {"inputs": [tensor(parameters={"binary_data_size": -1})]}),
        "a text of spaces": ("text_empty", {"inputs": [tensor(data=["  "])]}),
        "an empty text": ("nothing_to_predict", {"inputs": [tensor(data=[""])]}),
    }  # fmt: skip
    for name, (code, body) in bodies.items():
        yield Http(f"OIP: {name}", code, path=INFER, headers=JSON, body=json.dumps(body).encode())
    binary = {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 9}}
    head = json.dumps({"inputs": [binary]}).encode()
    for name, length, tail in (
        ("a header length beyond the body", len(head) + 99, b"\5\0\0\0happy"),
        ("a header length of words", "many", b"\5\0\0\0happy"),
        ("an element longer than its tensor", len(head), b"\xff\0\0\0happy"),
        ("bytes that are left over", len(head), b"\5\0\0\0happyday"),
        ("a tensor that is cut", len(head), b"\5\0\0\0ha"),
    ):
        headers = {"Inference-Header-Content-Length": str(length)}
        yield Http(f"OIP: {name}", "tensor_invalid", path=INFER, headers=headers, body=head + tail)
    not_a_number = {**binary, "name": "waveform", "datatype": "FP32", "parameters": {"binary_data_size": 4}}
    head = json.dumps({"inputs": [not_a_number]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    nan = struct.pack("<f", float("nan"))
    yield Http("OIP: a waveform of NaN", "audio_not_finite", path=INFER, headers=headers, body=head + nan)
    yield Http("OIP: another model", "model_unknown", "GET", "/v2/models/bert")
    yield Http("OIP: another version", "model_unknown", "GET", "/v2/models/plain/versions/99")
    yield Http("OIP: readiness of another model", "model_unknown", "GET", "/v2/models/bert/ready")
    yield Http("OIP: a path out of the models", "route_unknown", "GET", "/v2/models/../../etc/passwd")


# --- routes ---


def _routes() -> Iterator[Http]:
    for path in ("/nowhere", "/predict/", "/PREDICT", "//predict", "/predict/../labels", "/static/../app.py", "/.git/config",
                 "/static/%2e%2e%2fapp.py", "/docs", "/redoc", "/v1", "/v2/models", "/admin", "/%00", "/static/"):  # fmt: skip
        yield Http(f"route: GET {path}", "route_unknown", "GET", path)
    for method, path in (("GET", "/predict"), ("PUT", "/predict"), ("DELETE", "/predict"), ("PATCH", "/labels"),
                         ("POST", "/labels"), ("POST", "/health/ready"), ("TRACE", "/"), ("OPTIONS", "/predict"),
                         ("GET", INFER), ("POST", "/metrics"), ("BREW", "/predict")):  # fmt: skip
        yield Http(f"route: {method} {path}", "method_unsupported", method, path)
    yield Http("route: GET /stream without an upgrade", "route_unknown", "GET", "/stream")
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "",
                 "0.0.0.0", "[::]", "localhost:99999999", "127.0.0.1:80:80", "169.254.169.254", "LOCALHOST.", "127.1"):  # fmt: skip
        yield Http(f"host: {host or 'empty'}", "host_refused", "GET", "/labels", {"Host": host})
    for origin in ("https://evil.example", "null", "http://localhost:1", "file://"):
        yield Http(f"origin: {origin}", "host_refused", "GET", "/labels", {"Origin": origin})


# --- bytes on a connection ---


def raw_inputs() -> Iterator[Raw]:
    """What no HTTP client would send."""
    host = b"Host: localhost\r\n"
    post = b"POST /predict HTTP/1.1\r\n" + host
    cases: dict[str, tuple[str, bytes]] = {
        "nothing but a line": ("header_invalid", b"\r\n\r\nhello\r\n\r\n"),
        "TLS": ("header_invalid", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20) + b"\r\n\r\n"),
        "HTTP/2": ("header_invalid", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        "HTTP/9.9": ("header_invalid", b"GET /labels HTTP/9.9\r\n" + host + b"\r\n"),
        "HTTP/0.9": ("header_invalid", b"GET /\r\n\r\n"),
        "no Host": ("header_invalid", b"GET /labels HTTP/1.1\r\n\r\n"),
        "two Hosts": ("header_invalid", b"GET /labels HTTP/1.1\r\n" + host + b"Host: evil.example\r\n\r\n"),
        "a space before the colon": ("header_invalid", b"GET /labels HTTP/1.1\r\nHost : localhost\r\n\r\n"),
        "a NUL in a header": ("header_invalid", b"GET /labels HTTP/1.1\r\n" + host + b"X: a\0b\r\n\r\n"),
        "a folded line first": ("header_invalid", b"GET /labels HTTP/1.1\r\n X: a\r\n" + host + b"\r\n"),
        "headers of 20 KB": ("header_too_large", b"GET /labels HTTP/1.1\r\n" + host + b"X: " + b"a" * 20_000 + b"\r\n\r\n"),
        "a path of 20 KB": ("header_too_large", b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + host + b"\r\n"),
        "4,000 headers": ("header_too_large", b"GET /labels HTTP/1.1\r\n" + host + b"X: a\r\n" * 4000 + b"\r\n"),
        "lengths 5 and 6": ("header_invalid", post + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        "a length of -1": ("header_invalid", post + b"Content-Length: -1\r\n\r\n"),
        "a length of words": ("header_invalid", post + b"Content-Length: many\r\n\r\n"),
        "a length with a plus": ("header_invalid", post + b"Content-Length: +5\r\n\r\nhello"),
        "a length in hexadecimal": ("header_invalid", post + b"Content-Length: 0x5\r\n\r\nhello"),
        "a length of 1 GB": ("body_too_large", post + b"Content-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n"),
        "a length of 10^19": (
            "body_too_large", post + b"Content-Type: application/json\r\nContent-Length: 1" + b"0" * 18 + b"\r\n\r\n"
        ),
        "a length of 30 digits": ("header_invalid", post + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n"),
        "an unknown transfer coding": ("header_invalid", post + b"Transfer-Encoding: gzip\r\n\r\n"),
        "gzip and chunked": ("header_invalid", post + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        "chunked twice": ("header_invalid", post + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "a chunk size of words": (
            "header_invalid", post + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"
        ),
        "a negative chunk": (
            "header_invalid", post + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"
        ),
        "a chunk longer than it says": (
            "header_invalid",
            post + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
        ),
        "a chunk of 2^70": (
            "header_invalid",
            post + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 21 + b"\r\n",
        ),
        "an upgrade without a key": (
            "header_invalid", b"GET /stream HTTP/1.1\r\n" + host + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        ),
        "an upgrade of version 8": (
            "header_invalid",
            b"GET /stream HTTP/1.1\r\n" + host + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ),
        "an upgrade with a short key": (
            "header_invalid",
            b"GET /stream HTTP/1.1\r\n" + host + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhl\r\n\r\n",
        ),
        "an upgrade by POST": (
            "header_invalid",
            post + b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ),
        "an upgrade elsewhere": (
            "route_unknown",
            b"GET /elsewhere HTTP/1.1\r\n" + host + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ),
        "an upgrade from another site": (
            "host_refused",
            b"GET /stream HTTP/1.1\r\n" + host + b"Origin: https://evil.example\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ),
        "a whole address as path": ("route_unknown", b"GET http://evil.example/labels HTTP/1.1\r\n" + host + b"\r\n"),
        "an asterisk as path": ("route_unknown", b"OPTIONS * HTTP/1.1\r\n" + host + b"\r\n"),
        "CONNECT": ("route_unknown", b"CONNECT evil.example:443 HTTP/1.1\r\n" + host + b"\r\n"),
        "a path without a slash": ("route_unknown", b"GET labels HTTP/1.1\r\n" + host + b"\r\n"),
        "a path with a space": ("header_invalid", b"GET /la bels HTTP/1.1\r\n" + host + b"\r\n"),
        "a method with a slash": ("header_invalid", b"G/T /labels HTTP/1.1\r\n" + host + b"\r\n"),
    }  # fmt: skip
    for name, (code, data) in cases.items():
        yield Raw(f"raw: {name}", code, data)


# --- streams ---


def stream_inputs() -> Iterator[Stream]:
    """Messages that a stream refuses."""
    start = '{"type": "start"}'
    floats = '{"type": "start", "format": "f32le"}'
    sound = (tone() * 20_000).astype("<i2").tobytes()
    finish = '{"type": "finish"}'

    def with_(**changes: Any) -> str:
        return json.dumps({"type": "start", **changes})

    invalid = {
        "not JSON": "start",
        "a list": "[]",
        "no type": "{}",
        "another type": '{"type": "begin"}',
        "an unknown name": with_(rte=16000),
        "a rate of 7,999": with_(rate=7999),
        "a rate of 192,001": with_(rate=192_001),
        "a rate of text": with_(rate="16000"),
        "a rate of 16000.5": with_(rate=16000.5),
        "a format of s24le": with_(format="s24le"),
        "a format of null": with_(format=None),
        "a timeline of 1": with_(timeline=1),
        "a text of 1": with_(text=1),
        "a lone surrogate": '{"type": "start", "text": "\\ud800"}',
        "words without times": with_(words=[{"text": "a"}]),
        "a word before 0": with_(words=[{"text": "a", "start": -1, "end": 1}]),
        "a name twice": '{"type": "start", "type": "start"}',
        "NaN": '{"type": "start", "rate": NaN}',
        "1,000 lists deep": "[" * 100_000,
        "finish first": finish,
    }
    for name, message in invalid.items():
        json_codes = ("not JSON", "a name twice", "NaN", "1,000 lists deep")
        code = "json_invalid" if name in json_codes else "value_invalid"
        yield Stream(f"stream: starts with {name}", code, 1003, (message,))
    yield Stream("stream: sound before the start", "stream_invalid", 1003, (sound,))
    yield Stream("stream: an unknown label", "label_unknown", 1003, (with_(labels=["hungry"]),))
    yield Stream("stream: a text of spaces", "text_empty", 1003, (with_(text="  "), sound, finish))
    yield Stream("stream: a text too long", "text_too_long", 1003, (with_(text="a" * 20_001),))
    yield Stream("stream: odd bytes", "stream_invalid", 1003, (start, b"abc"))
    yield Stream("stream: 6 bytes of floats", "stream_invalid", 1003, (floats, b"abcdef"))
    yield Stream("stream: NaN", "audio_not_finite", 1003, (floats, struct.pack("<f", float("nan")) * 1000))
    yield Stream(
        "stream: infinity", "audio_not_finite", 1003, (floats, struct.pack("<f", float("inf")) * 1000)
    )
    yield Stream(
        "stream: 16-bit numbers as floats", "audio_corrupt", 1003, (floats, struct.pack("<f", 9000.0) * 1000)
    )
    yield Stream("stream: finish without sound", "nothing_to_predict", 1003, (start, finish))
    yield Stream("stream: 10 samples", "audio_too_short", 1003, (start, bytes(range(1, 21)), finish))
    yield Stream("stream: text for sound", "json_invalid", 1003, (start, "AAAA"))
    yield Stream("stream: start twice", "value_invalid", 1003, (start, start))
    yield Stream(
        "stream: words that are none", "value_invalid", 1003, (start, '{"type": "words", "words": 3}')
    )
    yield Stream("stream: finish with more", "value_invalid", 1003, (start, '{"type": "finish", "x": 1}'))
    yield Stream("stream: a message of null", "value_invalid", 1003, (start, "null"))
    # In two pieces: what is left unread of one would reset the connection, at times before the client reads why.
    yield Stream("stream: a message of a byte too much", "closed", 1009, (start, (bytes(2**20), b"x")))
