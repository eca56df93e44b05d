"""What a file is, told by its first bytes and never by its name; and what its header promises.

Only the few headers are read that a decoder would take on trust: the rate and channels before any decoder
sees them, and the length that a file promises, so that a file cut short is noticed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

AUDIO = ("wav", "flac", "ogg", "mp3")
VIDEO = ("mp4", "matroska")
IMAGES = ("jpeg", "png", "webp")

_HEAD = 64 * 1024

# (offset, bytes, container, title). What is not in AUDIO, VIDEO or IMAGES is refused by its title.
_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"fLaC", "flac", "FLAC audio"),
    (0, b"OggS", "ogg", "Ogg audio"),
    (0, b"\x1aE\xdf\xa3", "matroska", "WebM or Matroska video"),
    (0, b"\xff\xd8\xff", "jpeg", "a JPEG picture"),
    (0, b"\x89PNG\r\n\x1a\n", "png", "a PNG picture"),
    (0, b"GIF8", "gif", "a GIF picture"),
    (0, b"II*\0", "tiff", "a TIFF picture"),
    (0, b"MM\0*", "tiff", "a TIFF picture"),
    (0, b"8BPS", "psd", "a Photoshop file"),
    (0, b"SIMPLE  =", "fits", "a FITS picture"),
    (0, b"%!PS", "eps", "a PostScript file"),
    (0, b"%PDF", "pdf", "a PDF"),
    (0, b"PK\3\4", "zip", "a zip archive"),
    (0, b"\x1f\x8b", "gzip", "a gzip archive"),
    (0, b".snd", "au", "AU audio"),
    (0, b"caff", "caf", "CAF audio"),
    (0, b"#!AMR", "amr", "AMR audio"),
    (0, b"riff", "w64", "Wave64 audio"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf", "Windows Media"),
    (0, b"#EXTM3U", "hls", "a playlist, which only names other files"),
)
_RIFF_KINDS = {
    b"WAVE": ("wav", "WAV audio"),
    b"WEBP": ("webp", "a WebP picture"),
    b"AVI ": ("avi", "AVI video"),
    b"AIFF": ("aiff", "AIFF audio"),
    b"AIFC": ("aiff", "AIFF audio"),
}
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_STILL_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")
_UNKNOWN = ("unknown", "not a file of a known kind")


@dataclass(frozen=True, slots=True)
class Sniffed:
    """The container, its title for messages, and where it starts (after ID3 tags and padding)."""

    container: str
    title: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says. `promised`: bytes of audio promised over bytes held (1 where nothing is missing).

    `cut` is True where the file certainly ends too early; `chained` where it holds more than one stream;
    `live` where it was written in fragments, whose length no header knows. `rate` and `channels` are None
    where only the decoder can tell.
    """

    rate: int | None = None
    channels: int | None = None
    promised: float = 1.0
    cut: bool = False
    chained: bool = False
    live: bool = False


def sniff(file: BinaryIO) -> Sniffed:
    """Tell the container by magic bytes. Reads at most 64 KiB, wherever the ID3 tags end."""
    offset = _skip_id3(file)
    head = _read_at(file, offset, _HEAD)
    container, title = _by_magic(head)
    if container == "unknown":
        padding = len(head) - len(head.lstrip(b"\0"))
        first = _first_mp3_frame(head, padding, lost=offset > 0)
        if first is not None:
            return Sniffed("mp3", "MP3 audio", offset + first)
        if offset:
            return Sniffed("mp3", "MP3 audio", offset)  # a tag, and no audio that could be found after it
        container, title = _by_text(head)
    return Sniffed(container, title, offset)


def read_header(file: BinaryIO, size: int, sniffed: Sniffed) -> Header:
    """Read what the header of an audio or video file promises. The file's position is left anywhere."""
    readers = {
        "wav": _wav_header,
        "flac": _flac_header,
        "ogg": _ogg_header,
        "mp3": _mp3_header,
        "mp4": _mp4_header,
        "matroska": _matroska_header,
    }
    return readers[sniffed.container](file, size, sniffed.offset)


def image_size(head: bytes, container: str) -> tuple[int, int] | None:
    """(width, height) as the header has it, before any decoder sees the file; None where it has none."""
    readers = {"png": _png_size, "jpeg": _jpeg_size, "webp": _webp_size}
    return readers[container](head)


def _read_at(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)


def _by_magic(head: bytes) -> tuple[str, str]:
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"FORM") and head[8:12] in _RIFF_KINDS:
        return _RIFF_KINDS[head[8:12]]
    if head[4:8] in _BOXES and head[:1] < b"\t":  # a box starts with its length, a text does not
        if head[8:12] in _STILL_BRANDS:
            return "heic", "a HEIC or AVIF picture"
        return "mp4", "MP4, M4A or QuickTime video"
    for offset, magic, container, title in _MAGIC:
        if head.startswith(magic, offset):
            return container, title
    return _UNKNOWN


def _by_text(head: bytes) -> tuple[str, str]:
    start = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "html", "a web page; the download probably failed"
    if start.startswith((b"<?xml", b"<svg")):
        return "xml", "XML or SVG"
    if start.startswith((b"{", b"[")):
        return "json", "JSON"
    if start and not any(byte < 9 or 13 < byte < 32 for byte in head[:512]):
        return "text", "a text"
    return _UNKNOWN


# --- WAV ----------------------------------------------------------------------------------------------------

# A writer into a pipe cannot know the length: it leaves the largest one that it can write.
_LENGTH_UNKNOWN = 0x7FFFF000
_MOST_CHUNKS = 1000


def _wav_header(file: BinaryIO, size: int, offset: int) -> Header:
    order = ">" if _read_at(file, offset, 4) == b"RIFX" else "<"
    rate = channels = wide = None
    position = offset + 12
    for _ in range(_MOST_CHUNKS):
        chunk = _read_at(file, position, 8)
        if len(chunk) < 8:
            break
        name, length = struct.unpack(order + "4sI", chunk)
        position += 8
        if name == b"ds64":
            body = file.read(16)
            wide = struct.unpack("<8xQ", body)[0] if len(body) == 16 else None
        elif name == b"fmt ":
            body = file.read(16)
            if len(body) == 16:
                channels, rate = struct.unpack(order + "2xHI8x", body)
        elif name == b"data":
            if wide is not None and length == 0xFFFFFFFF:
                length = wide
            elif length >= _LENGTH_UNKNOWN:
                return Header(rate, channels)
            held = min(length, max(size - position, 0))
            if held == 0:
                return Header(rate, channels, cut=length > 0)
            return Header(rate, channels, promised=length / held)
        position += length + length % 2
    return Header(rate, channels, cut=True)


# --- FLAC ---------------------------------------------------------------------------------------------------


def _flac_header(file: BinaryIO, size: int, offset: int) -> Header:
    info = _read_at(file, offset, 26)
    if len(info) < 26:
        return Header(cut=True)
    # After magic, block header and frame sizes: 20 bits of rate, 3 of channels - 1, then depth and length.
    packed = int.from_bytes(info[18:26], "big")
    return Header(rate=packed >> 44, channels=(packed >> 41 & 7) + 1)


# --- Ogg ----------------------------------------------------------------------------------------------------

_LONGEST_PAGE = 27 + 255 + 255 * 255


def _ogg_header(file: BinaryIO, size: int, offset: int) -> Header:
    first_serial = _read_at(file, offset + 14, 4)
    start = max(offset, size - _LONGEST_PAGE - 4)
    tail = _read_at(file, start, size - start)
    last = tail.rfind(b"OggS")
    page = tail[last:] if last >= 0 else b""
    if len(page) < 27:
        return Header(cut=True)
    end = 27 + page[26] + sum(page[27 : 27 + page[26]])
    rest = page[end:]
    if len(page) < end or (rest and b"OggS".startswith(rest)):  # within the page, or within the next magic
        return Header(cut=True)
    return Header(chained=page[14:18] != first_serial)


# --- MP3 ----------------------------------------------------------------------------------------------------

_KBPS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBPS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_UNBOUNDED_FRAMES = 2**31 - 1


def _skip_id3(file: BinaryIO) -> int:
    """Where the file starts after its ID3v2 tags (each may claim up to 256 MiB: skipped, never read)."""
    offset = 0
    for _ in range(8):
        tag = _read_at(file, offset, 10)
        if len(tag) < 10 or tag[:3] != b"ID3" or max(tag[6:10]) > 127:
            break
        length = tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9]
        offset += 10 + length + (10 if tag[5] & 0x10 else 0)
    return offset


def _mp3_frame_bytes(head: bytes, at: int) -> int:
    """Length of the MPEG layer III frame whose header stands at `at`; 0 where no header stands there."""
    frame = head[at : at + 4]
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2:
        return 0
    version, bitrate, rate = frame[1] >> 3 & 3, frame[2] >> 4, frame[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return 0
    factor, table = (144, _KBPS_1) if version == 3 else (72, _KBPS_2)
    return factor * table[bitrate] * 1000 // _RATES[version][rate] + (frame[2] >> 1 & 1)


def _first_mp3_frame(head: bytes, start: int, *, lost: bool) -> int | None:
    """Where the first frame starts: at `start`, or (`lost`, after a tag) wherever two frames follow."""
    stop = len(head) if lost else start + 1
    at = head.find(b"\xff", start, stop)
    while at >= 0:
        length = _mp3_frame_bytes(head, at)
        ends = at + length + 4 > len(head)  # the file or the window ends before the next header
        if length and (ends or _mp3_frame_bytes(head, at + length)):
            return at
        at = head.find(b"\xff", at + 1, stop)
    return None


def _mp3_header(file: BinaryIO, size: int, offset: int) -> Header:
    length = _mp3_frame_bytes(_read_at(file, offset, 4), 0)
    return Header(cut=offset + max(length, 1) > size)


def mp3_length_frame(file: BinaryIO, offset: int) -> bytes:
    """A frame to put before an MP3 that does not tell its length; empty where it does.

    libsndfile guesses the length of such a file from its first frame's bit rate and stops there, silently:
    a recording that starts loud would lose its end. Told that the length is without bound, it reads all.
    """
    head = _read_at(file, offset, 64)
    tag = max(head.find(b"Xing", 0, 48), head.find(b"Info", 0, 48))
    if len(head) < 64 or (tag >= 0 and head[tag + 7] & 1):  # the lowest flag: a number of frames is told
        return b""
    # The same version and rate, without checksum, at a bit rate whose frame is long enough for what follows.
    frame = bytes((0xFF, head[1] | 1, 9 << 4 | head[2] & 0x0C, head[3]))
    mono = head[3] >> 6 == 3
    side = (17 if mono else 32) if head[1] >> 3 & 3 == 3 else (9 if mono else 17)
    length = b"Xing" + (1).to_bytes(4, "big") + _UNBOUNDED_FRAMES.to_bytes(4, "big")
    return (frame + bytes(side) + length).ljust(_mp3_frame_bytes(frame, 0), b"\0")


# --- MP4 and Matroska ---------------------------------------------------------------------------------------

_MOST_BOXES = 1_000_000


def _mp4_header(file: BinaryIO, size: int, offset: int) -> Header:
    """Walk the outermost boxes; every one says how long it is."""
    live = False
    for _ in range(_MOST_BOXES):
        box = _read_at(file, offset, 16)
        if len(box) < 8:
            return Header(cut=offset != size, live=live)
        length = int.from_bytes(box[:4], "big")
        if length == 1:
            length = int.from_bytes(box[8:16], "big")
        live = live or box[4:8] == b"moof"
        if length < 8:  # 0: up to the end of the file, whatever that is
            return Header(live=live)
        offset += length
    return Header(live=True)


def _matroska_header(file: BinaryIO, size: int, offset: int) -> Header:
    """Two elements, the EBML header and the Segment that holds all the rest."""
    first = _ebml_length(_read_at(file, offset + 4, 8))
    segment = offset + 4 + (sum(first) if first else 0)
    body = _ebml_length(_read_at(file, segment + 4, 8))
    if first is None or body is None:
        return Header(cut=True)
    width, length = body
    if length == (1 << 7 * width) - 1:  # all ones: a live recording, whose length was not known
        return Header(live=True)
    return Header(cut=segment + 4 + width + length > size)


def _ebml_length(head: bytes) -> tuple[int, int] | None:
    """(bytes of the length field, length); the leading zero bits tell how many bytes the field has."""
    if not head or head[0] == 0:
        return None
    width = 9 - head[0].bit_length()
    if len(head) < width:
        return None
    return width, int.from_bytes(head[:width], "big") & ((1 << 7 * width) - 1)


# --- pictures -----------------------------------------------------------------------------------------------


def _png_size(head: bytes) -> tuple[int, int] | None:
    if len(head) < 24 or head[12:16] != b"IHDR":
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:  # padding, or a marker without a body
            at += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    if len(head) < 30:
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None
