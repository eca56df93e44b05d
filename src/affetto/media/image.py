"""Pictures from a path, bytes, standard input or a zip member to uint8 RGB [H W 3].

JPEG, PNG and WebP are told by their bytes, and only these decoders of Pillow are ever entered. The number
of pixels is read from the header first: 20 KB of PNG can unfold to 169 megapixels.
"""

from __future__ import annotations

import io

import numpy as np

# By name, or Pillow loads all of its forty formats to find one of these.
from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401

from affetto.errors import MediaError
from affetto.media.containers import IMAGES, image_size, sniff
from affetto.media.limits import ImageLimits
from affetto.media.source import MediaSource, open_source

_EXIF_ORIENTATION = 0x0112
# What undoes each orientation: the camera's way of holding, as EXIF numbers it.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(source: MediaSource, *, limits: ImageLimits = ImageLimits()) -> np.ndarray:
    """Decode `source` (path, `-`, `archive.zip#member` or bytes) to uint8 RGB [H W 3], upright.

    The EXIF orientation is applied. 16 bits become 8, greys, palettes and CMYK become RGB, and what is
    transparent stands on white. Of an animation, the first picture is taken.

    Raises MediaError: media_not_found, media_unreadable, media_too_large, image_empty,
    image_unknown_format, image_corrupt (also one that is cut short), image_too_large (also where memory
    is limited and does not suffice).
    """
    with open_source(source, max_bytes=limits.max_bytes) as opened:
        name = opened.name
        if opened.size == 0:
            raise MediaError("image_empty", f"{name}: holds no bytes; save or copy it again")
        sniffed = sniff(opened.file)
        if sniffed.container not in IMAGES:
            raise MediaError(
                "image_unknown_format",
                f"{name}: {sniffed.title}, expected JPEG, PNG or WebP; convert it to one of these",
            )
        if opened.size > limits.max_bytes:
            limit = f"{limits.max_bytes / 2**20:g} MiB"
            raise MediaError("media_too_large", f"{name}: more than {limit}; save it smaller")
        opened.file.seek(0)
        data = opened.file.read(limits.max_bytes)
    _check_size(image_size(data, sniffed.container), limits, name)
    return _decode(data, sniffed.container, name)


def _check_size(size: tuple[int, int] | None, limits: ImageLimits, name: str) -> None:
    if size is None or 0 in size:
        raise MediaError("image_corrupt", f"{name}: its header gives no size; save or copy it again")
    width, height = size
    if width * height > limits.max_pixels:
        raise MediaError(
            "image_too_large",
            f"{name}: {width} x {height} pixels, expected at most {limits.max_pixels:,} in all; "
            "make it smaller, or raise max_pixels",
        )


def _decode(data: bytes, container: str, name: str) -> np.ndarray:
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=(container.upper(),))
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
        if turn is not None:
            turned = image.transpose(turn)
            image.close()  # a large picture is held once, not twice
            image = turned
        return _rgb(image)
    except MemoryError:
        raise MediaError(
            "image_too_large", f"{name}: its pixels need more memory than there is; make it smaller"
        ) from None
    # Damaged bytes make Pillow's parsers fail in a dozen ways, and each of them means the same here.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MediaError(
            "image_corrupt", f"{name}: cannot be decoded ({reason}); save or copy it again"
        ) from None


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1 (upright) where there is none or where it cannot be read."""
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # a damaged tag is no reason to refuse a picture whose pixels are whole
        return 1
    return value if isinstance(value, int) else 1


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip at 255
        grey = (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        seen = image if image.mode == "RGBA" else image.convert("RGBA")
        image = Image.new("RGB", seen.size, "white")
        image.paste(seen, mask=seen.getchannel("A"))
        seen.close()
    elif image.mode != "RGB":
        image = image.convert("RGB")
    return np.array(image)
