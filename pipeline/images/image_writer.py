"""Writing pictures as image files.

PNG, WebP (in its lossless mode) and TIFF are written without loss. JPEG is written at quality 95
without chroma subsampling. It cannot hold alpha: a picture with alpha becomes a PNG.
"""

import io
from typing import Any, Literal

import numpy as np
from PIL import Image

from model.core.picture import Picture
from pipeline.containers import jpeg, png, tiff, webp
from pipeline.containers.contents import Columns
from pipeline.containers.skeleton_bytes import unpack

Format = Literal["png", "jpeg", "webp", "tiff"]

SUFFIXES: dict[Format, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}
"""Suffix per format, appended to the name of a file whose format changed."""

_BY_SUFFIX: dict[str, Format] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
}
_MAX_WEBP_SIDE, _MAX_JPEG_SIDE = 16_383, 65_500
_XMP_TAG = 700


def format_of(name: str) -> Format | None:
    """The format of a file name's suffix; None for any other suffix."""
    dot = name.rfind(".")
    return _BY_SUFFIX.get(name[dot:].lower()) if dot >= 0 else None


def format_of_decoded(source_format: str) -> Format:
    """The format in which a compressed image is written by default: its source's, or PNG as a substitute."""
    return source_format if source_format in SUFFIXES else "png"


def format_for(picture: Picture, wanted: Format) -> Format:
    """The wanted format, or "png" if that cannot hold the picture (alpha, or sides too long)."""
    longest = max(picture.width, picture.height)
    if wanted == "jpeg" and (picture.alpha is not None or longest > _MAX_JPEG_SIDE):
        return "png"
    return "png" if wanted == "webp" and longest > _MAX_WEBP_SIDE else wanted


def write_picture(picture: Picture, wanted: Format) -> bytes:
    """A whole image file with the picture's ICC profile, EXIF and XMP.

    A file in the format of the picture's source also gets all else that its source held.

    Args:
        picture: grey or RGB, with or without alpha.
        wanted: a format that can hold it; see `format_for`.

    Raises:
        ValueError: when the format cannot hold the picture or its metadata, or the skeleton is
            damaged.
    """
    columns = Columns(picture.icc, picture.exif, picture.xmp)
    skeleton = unpack(picture.skeleton) if picture.skeleton else None
    if skeleton is not None and skeleton.form != wanted:
        skeleton = None
    match wanted:
        case "png":
            # Level 3 is twice as fast as the default, and photographs get no smaller with more.
            encoded = _encoded(picture, "PNG", compress_level=3)
            return png.write(encoded, skeleton or png.default_skeleton(columns), columns)
        case "jpeg":
            if picture.alpha is not None:
                raise ValueError("JPEG cannot hold alpha")
            encoded = _encoded(picture, "JPEG", quality=95, subsampling=0)
            return jpeg.write(encoded, skeleton or jpeg.default_skeleton(columns), columns)
        case "webp":
            encoded = _encoded(picture, "WEBP", lossless=True, exact=True, method=2)
            size, alpha = (picture.width, picture.height), picture.alpha is not None
            return webp.write(encoded, skeleton or webp.default_skeleton(columns), columns, size, alpha)
        case "tiff":
            options: dict[str, Any] = {"compression": "tiff_adobe_deflate"}
            if skeleton is not None:
                return tiff.write(_encoded(picture, "TIFF", **options), skeleton, columns)
            options |= {"icc_profile": picture.icc} if picture.icc else {}
            options |= {"exif": picture.exif} if picture.exif else {}
            options |= {"tiffinfo": {_XMP_TAG: picture.xmp}} if picture.xmp else {}
            return _encoded(picture, "TIFF", **options)


def _encoded(picture: Picture, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    to_image(picture).save(file, form, **options)
    return file.getvalue()


def to_image(picture: Picture) -> Image.Image:
    """The picture's planes as Pillow's L, LA, RGB or RGBA, without its metadata."""
    planes = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    return Image.fromarray(planes[:, :, 0] if planes.shape[2] == 1 else planes)
