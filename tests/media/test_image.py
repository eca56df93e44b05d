from __future__ import annotations

import io
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from affetto.errors import MediaError
from affetto.media.image import ImageLimits, decode_image


def code_of(source, **options) -> str:
    with pytest.raises(MediaError) as caught:
        decode_image(source, **options)
    assert "\n" not in str(caught.value)
    return caught.value.code


def opened(data: bytes) -> np.ndarray:
    """What Pillow makes of it, the oracle."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


# --- what comes out ---


@settings(max_examples=40, deadline=None)
@given(format=st.sampled_from(["PNG", "WEBP", "JPEG"]), height=st.integers(1, 70), width=st.integers(1, 70))
def test_pixels_are_those_of_the_picture(make, format, height, width):
    pixels = make.scene(height, width)
    data = make.picture(format, pixels, **({} if format == "JPEG" else {"lossless": True}))
    decoded = decode_image(data)
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, opened(data) if format == "JPEG" else pixels)


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"quality": 5}, {"subsampling": 2}, {"comment": b"x"}]
)
def test_kinds_of_jpeg(make, options):
    data = make.picture("JPEG", make.scene(65, 33), **options)
    assert np.array_equal(decode_image(data), opened(data))


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}, {"icc_profile": b"x"}])
def test_kinds_of_webp(make, options):
    data = make.picture("WEBP", make.scene(65, 33), **options)
    assert np.array_equal(decode_image(data), opened(data))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_is_undone(make, format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = make.picture(format, make.scene(), exif=exif)
    decoded = decode_image(data)
    assert decoded.shape == ((24, 32, 3) if orientation < 5 else (32, 24, 3))
    assert np.array_equal(decoded, opened(data))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"garbage", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
def test_damaged_exif_is_no_reason_to_refuse(make, exif):
    data = make.picture("JPEG", make.scene(), exif=b"Exif\0\0" + exif)
    assert decode_image(data).shape == (24, 32, 3)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "YCbCr"])
def test_modes_become_rgb(make, mode):
    format = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    data = make.picture(format, make.scene(), mode)
    decoded = decode_image(data)
    assert decoded.shape == (24, 32, 3)
    assert np.array_equal(decoded, opened(data))


def test_sixteen_bits_are_scaled_not_cut_off(make):
    grey = np.linspace(0, 65_535, 24 * 32).astype(np.uint16).reshape(24, 32)
    decoded = decode_image(make.picture("PNG", grey))
    assert np.array_equal(decoded, np.repeat((grey >> 8).astype(np.uint8)[:, :, None], 3, axis=2))


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_what_is_transparent_stands_on_white(make, format):
    pixels = np.dstack([make.scene(), np.full((24, 32), 255, np.uint8)])
    pixels[:12, :, 3] = 0
    decoded = decode_image(make.picture(format, pixels, lossless=True))
    assert (decoded[:12] == 255).all()
    assert np.array_equal(decoded[12:], make.scene()[12:])


def test_a_transparent_colour_of_a_palette_stands_on_white(make):
    image = Image.fromarray(np.zeros((8, 8), np.uint8), "L").convert("P")
    file = io.BytesIO()
    image.save(file, "PNG", transparency=image.getpixel((0, 0)))
    assert (decode_image(file.getvalue()) == 255).all()


def test_the_first_picture_of_an_animation(make):
    file = io.BytesIO()
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    first.save(file, "WEBP", save_all=True, append_images=[second], lossless=True)
    assert (decode_image(file.getvalue()) == [255, 0, 0]).all()


# --- where it comes from ---


def test_path_bytes_and_member_are_the_same(make, tmp_path):
    data = make.picture("PNG", make.scene())
    (tmp_path / "face.jpg").write_bytes(data)  # whatever its name says
    with zipfile.ZipFile(tmp_path / "faces.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/1.png", data)
    for source in (data, tmp_path / "face.jpg", f"{tmp_path}/faces.zip#train/1.png"):
        assert np.array_equal(decode_image(source), make.scene())


# --- refusals, one code each ---


def test_no_bytes(tmp_path):
    (tmp_path / "a.png").touch()
    assert code_of(b"") == code_of(tmp_path / "a.png") == "image_empty"


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"not a picture at all", "text"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"GIF89a" + bytes(60), "GIF"),
        (b"8BPS" + bytes(60), "Photoshop"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"SIMPLE  =                    T" + bytes(60), "FITS"),
        (b"II*\0" + bytes(60), "TIFF"),
        (b"\0\0\0\x24ftypheic" + bytes(60), "HEIC"),
        (b"\0\0\0\x20ftypisom" + bytes(60), "MP4"),
        (b"RIFF\x24\0\0\0WAVE" + bytes(60), "WAV"),
        (bytes(100), "known kind"),
    ],
)
def test_what_is_not_a_picture_is_named(data, word):
    with pytest.raises(MediaError, match=word) as caught:
        decode_image(data)
    assert caught.value.code == "image_unknown_format"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_cut_short(make, format, share):
    rng = np.random.default_rng(0)
    data = make.picture(format, rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    assert code_of(data[: int(len(data) * share)]) == "image_corrupt"


def test_damaged(make):
    data = bytearray(
        make.picture("PNG", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    )
    data[len(data) // 2] ^= 0xFF
    assert code_of(bytes(data)) == "image_corrupt"


def test_no_pixels(make):
    data = bytearray(make.picture("PNG", make.scene()))
    data[16:20] = bytes(4)
    assert code_of(bytes(data)) == "image_corrupt"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_more_pixels_than_allowed(make, format):
    data = make.picture(format, make.scene(20, 30))
    assert decode_image(data, limits=ImageLimits(max_pixels=600)).shape == (20, 30, 3)
    with pytest.raises(MediaError, match="30 x 20 pixels") as caught:
        decode_image(data, limits=ImageLimits(max_pixels=599))
    assert caught.value.code == "image_too_large"


def test_a_bomb_costs_nothing(make):
    bomb = make.png_bomb(13_000, 13_000)
    assert len(bomb) < 25_000
    tracemalloc.start()
    started = time.process_time()
    assert code_of(bomb) == "image_too_large"
    spent = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spent < 0.1
    assert peak < 1e6


def test_long_and_thin_is_fine(make):
    assert decode_image(make.png_bomb(65_535, 1)).shape == (1, 65_535, 3)


def test_more_bytes_than_allowed(make, tmp_path):
    data = make.picture("PNG", make.scene())
    (tmp_path / "a.png").write_bytes(data)
    limits = ImageLimits(max_bytes=len(data) - 1)
    assert code_of(data, limits=limits) == code_of(tmp_path / "a.png", limits=limits) == "media_too_large"
    assert decode_image(data, limits=ImageLimits(max_bytes=len(data))).shape == (24, 32, 3)


def test_out_of_memory_is_told_as_too_large(make, monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr("affetto.media.image._rgb", exhausted)
    assert code_of(make.picture("PNG", make.scene())) == "image_too_large"
