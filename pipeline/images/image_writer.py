"""Writing pictures as image files.

PNG, WebP (in its lossless mode) and TIFF are written without loss. JPEG is written at quality 95
without chroma subsampling. It cannot hold alpha: a picture with alpha becomes a PNG.
"""

import io
from typing import Any, Literal

import numpy as np
from PIL import Image, PngImagePlugin

from model.core.picture import Picture

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

    Args:
        picture: grey or RGB, with or without alpha.
        wanted: a format that can hold it; see `format_for`.

    Raises:
        ValueError: when the format cannot hold the picture or its metadata (an EXIF block above 64
            KiB in a JPEG).
    """
    image = to_image(picture)
    options: dict[str, Any] = {}
    if picture.icc:
        options["icc_profile"] = picture.icc
    if picture.exif:
        options["exif"] = picture.exif
    match wanted:
        case "png":
            if picture.xmp:
                options["pnginfo"] = info = PngImagePlugin.PngInfo()
                info.add_itxt("XML:com.adobe.xmp", picture.xmp.decode("utf-8", "replace"))
            options["compress_level"] = 3  # twice as fast as the default, and photographs get no smaller with more
        case "jpeg":
            if picture.alpha is not None:
                raise ValueError("JPEG cannot hold alpha")
            options |= {"quality": 95, "subsampling": 0} | ({"xmp": picture.xmp} if picture.xmp else {})
        case "webp":
            options |= {"lossless": True, "exact": True, "method": 2} | ({"xmp": picture.xmp} if picture.xmp else {})
        case "tiff":
            options["compression"] = "tiff_adobe_deflate"
            if picture.xmp:
                options["tiffinfo"] = {_XMP_TAG: picture.xmp}
    file = io.BytesIO()
    image.save(file, wanted.upper(), **options)
    return file.getvalue()


def to_image(picture: Picture) -> Image.Image:
    """The picture's planes as Pillow's L, LA, RGB or RGBA, without its metadata."""
    planes = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    return Image.fromarray(planes[:, :, 0] if planes.shape[2] == 1 else planes)
