"""From a source's bytes to what the codec can press, what is kept as it is, or why it is refused.

    outcome = read(source)
    Reading with a picture      8-bit grey or RGB, alpha split off, ICC, EXIF and XMP beside it
    Reading without a picture   a sound image that the codec does not code; `keep` says why, the archive keeps the bytes
    Rejected                    not an image, damaged or cut short; `reason` goes into the rejections table

What is true of every picture: pixels are the file's own (EXIF orientation is carried, not applied; only TIFF, which
Pillow turns upright by itself, comes out upright), a palette became the colours it stands for, grey stayed one channel.
Alpha is kept even where it is opaque all over: dropping it would give back an RGB file for an RGBA one, and coding a
constant costs a few bytes.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from model.core.picture import MAX_SIDE, Picture
from pipeline.images.bit_depth import is_deep

MAX_PIXELS = 64_000_000
"""Pixels above which an image is kept as its original bytes instead of being decoded."""

_DECODED = frozenset(
    {"AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP"}
)
"""Formats whose pixels are read. Others that Pillow knows are kept as they are: some are containers of several images
(ICO, PSD), some start other programs when they are loaded (EPS)."""

_TIFF_FACTS = (270, 271, 272, 305, 306, 315, 33432)
"""TIFF tags that describe the photograph: description, make, model, software, date, artist, copyright. The others lay
out the file."""

_EXIF_DIRECTORIES = (0x8769, 0x8825)
"""The EXIF and GPS directories of a TIFF file."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A sound image.

    Attributes:
        source_format: Pillow's name in lower case ("jpeg", "png" ...).
        width: pixels in a row, as decoded (or as the header says, when it was not decoded).
        height: rows.
        picture: what the codec codes, or None when the source is kept as it is.
        keep: why the source is kept as it is, in words that many images share; None when there is a picture.
    """

    source_format: str
    width: int
    height: int
    picture: Picture | None = None
    keep: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A source that cannot become a row: at which stage ("fetch", "read", "encode") and why, in one line."""

    stage: str
    reason: str


def read(source: bytes, *, max_pixels: int = MAX_PIXELS) -> Reading | Rejected:
    """Decode one source.

    Args:
        source: the whole file.
        max_pixels: larger images are kept as originals, judged by their header alone, so that a header that promises
            too much costs nothing.

    Returns:
        A Reading or a Rejected; nothing that the bytes contain makes this raise.
    """
    if not source:
        return Rejected("read", "empty file")
    # Pillow's parsers raise whatever a damaged file makes them trip over (OSError, SyntaxError, struct.error,
    # IndexError ...): the class says nothing more than "damaged". Nothing is hidden: the reason becomes a row of the
    # rejections table.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _read(source, max_pixels)
    except Exception as e:
        return Rejected("read", _reason(e))


def _read(source: bytes, max_pixels: int) -> Reading:
    Image.MAX_IMAGE_PIXELS = None  # the header is judged below, by our own limit
    with Image.open(io.BytesIO(source)) as image:
        name = (image.format or "unknown").lower()
        keep = _why_not_coded(image, source, max_pixels)
        if keep is not None:
            return Reading(name, image.width, image.height, keep=keep)
        Image.MAX_IMAGE_PIXELS = max_pixels  # an image inside the image may be larger than the header said
        exif = image.info.get("exif", b"")  # before loading: TIFF and AVIF rewrite `info` as they load
        image.load()
        if image.format == "TIFF":
            exif = _tiff_exif(image)
        plain = _without_palette(image)
        if plain is None:
            return Reading(name, image.width, image.height, keep=f"mode {image.mode}")
        pixels, alpha = _planes(plain)
        icc, xmp = image.info.get("icc_profile") or b"", image.info.get("xmp") or b""
        picture = Picture(
            pixels, alpha, bytes(icc), bytes(exif or b""), xmp.encode() if isinstance(xmp, str) else bytes(xmp)
        )
        return Reading(name, picture.width, picture.height, picture)


def _why_not_coded(image: Image.Image, source: bytes, max_pixels: int) -> str | None:
    """Why an opened image is kept as it is; None when its pixels are to be read."""
    if image.format not in _DECODED:
        return f"format {(image.format or 'unknown').lower()}"
    if image.width * image.height > max_pixels or max(image.size) > MAX_SIDE:
        return "too many pixels"
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa", "La"):
        return f"mode {image.mode}"
    if image.mode == "F" or image.mode.startswith("I") or is_deep(image, source):
        return "more than 8 bits a channel"
    if getattr(image, "n_frames", 1) > 1:
        return "several frames or pages"
    return None


def _without_palette(image: Image.Image) -> Image.Image | None:
    """The image as L, LA, RGB or RGBA without any loss, or None for a mode that none of these holds."""
    transparent = "transparency" in image.info
    match image.mode:
        case "1":
            return image.convert("L")
        case "P":
            return image.convert("RGBA" if transparent or (image.palette and image.palette.mode == "RGBA") else "RGB")
        case "PA":
            return image.convert("RGBA")
        case "L" | "RGB" if transparent:  # one colour stands for "nothing here"
            return image.convert("LA" if image.mode == "L" else "RGBA")
        case "L" | "LA" | "RGB" | "RGBA":
            return image
        case _:
            return None


def _planes(image: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Pixels uint8 `[H, W, 1 or 3]` and alpha uint8 `[H, W]` or None."""
    array = np.asarray(image)
    if image.mode == "L":
        return array[:, :, None], None
    if image.mode == "RGB":
        return array, None
    return np.ascontiguousarray(array[:, :, :-1]), np.ascontiguousarray(array[:, :, -1])


def _tiff_exif(image: Image.Image) -> bytes:
    """An EXIF block of what a TIFF says about the photograph, without the orientation, which Pillow has applied."""
    tags, block = image.getexif(), Image.Exif()
    for tag in _TIFF_FACTS:
        if tag in tags:
            block[tag] = tags[tag]
    for directory in _EXIF_DIRECTORIES:
        if entries := tags.get_ifd(directory):
            block._ifds[directory] = entries  # Pillow has no public way to set a directory
            block[directory] = 0
    return block.tobytes() if len(block) else b""


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be read"
    return f"cannot be decoded: {text[:200]}" if text else f"cannot be decoded ({type(error).__name__})"
