from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affetto.media.containers import AUDIO, IMAGES, VIDEO, image_size, read_header, sniff

MAGIC = {
    "wav": b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0",
    "flac": b"fLaC\0\0\0\x22",
    "ogg": b"OggS\0\2",
    "mp3": b"ID3\4\0\0\0\0\0\0\xff\xfb\x90\x64",
    "mp4": b"\0\0\0\x18ftypM4A \0\0\0\0\0\0\0\0\0\0\0\0",
    "matroska": b"\x1aE\xdf\xa3\x81\0\x18\x53\x80\x67",
}


@given(kind=st.sampled_from(sorted(MAGIC)), rest=st.binary(max_size=200))
def test_headers_of_anything_are_read_without_a_fault(kind, rest):
    data = MAGIC[kind] + rest
    file = io.BytesIO(data)
    sniffed = sniff(file)
    assert sniffed.container in (kind, *AUDIO)  # what follows an ID3 tag may be any kind of audio
    header = read_header(file, len(data), sniffed)
    assert header.promised >= 1.0


@given(data=st.binary(max_size=300))
def test_anything_is_sniffed_without_a_fault(data):
    sniffed = sniff(io.BytesIO(data))
    assert sniffed.title
    if sniffed.container in AUDIO + VIDEO:
        read_header(io.BytesIO(data), len(data), sniffed)
    if sniffed.container in IMAGES:
        image_size(data, sniffed.container)


@given(kind=st.sampled_from(IMAGES), rest=st.binary(max_size=100))
def test_sizes_of_anything_are_read_without_a_fault(kind, rest):
    magic = {"png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "jpeg": b"\xff\xd8\xff", "webp": b"RIFF\0\0\0\0WEBPVP8"}
    size = image_size(magic[kind] + rest, kind)
    assert size is None or all(0 <= side < 2**32 for side in size)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", [(1, 1), (3, 500), (700, 2), (16_383, 1)])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0" + bytes(9000)}])
def test_sizes_are_those_of_the_picture(make, format, size, options):
    width, height = size
    data = make.picture(format, np.zeros((height, width, 3), np.uint8), **options)
    assert sniff(io.BytesIO(data)).container == format.lower()
    assert image_size(data, format.lower()) == size


@pytest.mark.parametrize("text", ["FORM of words", "The free world", "BMW", "riffraff", "RIFF and RAFF"])
def test_a_text_that_begins_like_a_magic_is_text(text):
    assert sniff(io.BytesIO(text.encode() * 3)).title in ("a text", "Wave64 audio")
