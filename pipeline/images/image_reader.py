"""Reading image files: a picture for the codec, RGB pixels for learning, or a reason why not.

    outcome = read(source)
    Reading with a picture      8-bit grey or RGB, alpha split off, ICC, EXIF and XMP beside it
    Reading without a picture   a valid image that the codec does not code; `keep` is the reason, the archive keeps the
                                bytes
    Rejected                    not an image, damaged or truncated; `reason` goes into the rejections table

Use it through `pipeline.images.sandbox` for files that you did not make yourself: the decoders are
written in C.

Every picture holds the file's own pixels. EXIF orientation is stored, not applied (except in TIFF,
which Pillow always turns upright); a palette is replaced by its colours; grey stays one channel.
Alpha is kept even where all of it is opaque: an RGBA file must come back as RGBA, and a constant
plane costs a few bytes.
"""

import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from model.core.picture import MAX_SIDE, Picture
from pipeline.images.bit_depth import is_deep
from pipeline.images.image_writer import format_for, format_of_decoded, write_picture
from pipeline.images.reading import Reading, Rejected

MAX_PIXELS = 64_000_000
"""Images with more pixels are kept as their original bytes instead of being decoded."""

_DECODED = frozenset(
    {"AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP"}
)
"""Formats whose pixels are read. Other formats of Pillow's are kept as they are: some are
containers of several images (ICO, PSD), some start other programs when they are loaded (EPS)."""

_DESCRIPTIVE_TAGS = (270, 271, 272, 305, 306, 315, 33432)
"""TIFF tags that describe the photograph: description, make, model, software, date, artist,
copyright. The others describe the layout of the file."""

_EXIF_DIRECTORIES = (0x8769, 0x8825)
"""The EXIF and GPS directories of a TIFF file."""

UNWRITABLE = "metadata that cannot be written back"
"""The value of `keep` for images whose metadata would prevent that a decode writes them."""

LARGEST_SIDE = (1 << 31) - 1
"""Largest width or height in pixels that a row can hold; in pictures that are decoded it is
`MAX_SIDE`."""

_PILLOW_SETTINGS = threading.Lock()
"""Held while a file is read: Pillow's pixel limit and Python's warning filters belong to the whole
process."""


def read(source: bytes, *, max_pixels: int = MAX_PIXELS) -> Reading | Rejected:
    """Decode one source for the codec.

    Args:
        source: the whole file.
        max_pixels: larger images are kept as originals. Their header alone decides, so a header
            that claims a huge image costs nothing.

    Returns:
        A Reading or a Rejected; no content of `source` makes this function raise anything else than
        MemoryError.

    Raises:
        MemoryError: when this process has too little memory; a sandbox tries again in a new one.
    """
    if not source:
        return Rejected("read", "empty file")
    # Pillow's parsers raise almost anything on a damaged file (OSError, SyntaxError, struct.error,
    # IndexError ...), so the class carries no information. The reason goes into the rejections
    # table.
    try:
        with _pillow_settings():
            return _read(source, max_pixels)
    except MemoryError:
        raise
    except Exception as e:
        return Rejected("read", _reason(e))


def read_rgb(source: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8] | Rejected:
    """Decode one source as 8-bit RGB, for learning, without alpha and metadata.

    Files that `read` keeps for their mode, bit depth or number of frames are converted, too (the
    first frame).

    Args:
        source: the whole file.
        max_pixels: larger images are refused by their header.

    Returns:
        uint8 `[H, W, 3]`, or a Rejected.

    Raises:
        MemoryError: as `read` does.
    """
    try:
        with _pillow_settings(), Image.open(io.BytesIO(source)) as image:
            if image.format not in _DECODED:
                return Rejected("read", f"format {(image.format or 'unknown').lower()}")
            width, height = possible_size(image.size)
            if width * height > max_pixels:
                return Rejected("read", "too many pixels")
            Image.MAX_IMAGE_PIXELS = max_pixels
            return np.asarray(image.convert("RGB"))
    except MemoryError:
        raise
    except Exception as e:  # as in `read`
        return Rejected("read", _reason(e))


def possible_size(size: Sequence[object]) -> tuple[int, int]:
    """Width and height that a header gives, if they can be those of an image.

    Raises:
        ImpossibleSize: for anything but two integers from 1 to `LARGEST_SIDE`.
    """
    sides = [side for side in size if type(side) is int and 1 <= side <= LARGEST_SIDE]
    if len(sides) != 2 or len(size) != 2:
        raise ImpossibleSize(f"header gives impossible size: {' x '.join(str(side)[:20] for side in size)}")
    return sides[0], sides[1]


class ImpossibleSize(ValueError):
    """A header gives a width or height that no image has."""


@contextmanager
def _pillow_settings() -> Iterator[None]:
    """Lift Pillow's pixel limit and make its warnings errors or silent; restore both afterwards."""
    with _PILLOW_SETTINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # callers check the header themselves
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _read(source: bytes, max_pixels: int) -> Reading:
    with Image.open(io.BytesIO(source)) as image:
        name = (image.format or "unknown").lower()
        width, height = possible_size(image.size)
        keep = _why_not_coded(image, source, max_pixels)
        if keep is not None:
            return Reading(name, width, height, keep=keep)
        Image.MAX_IMAGE_PIXELS = max_pixels  # an image inside the file may be larger than the header says
        exif = image.info.get("exif", b"")  # before loading: TIFF and AVIF rewrite `info` as they load
        if image.format == "TIFF":
            try:
                image.load()
                exif = _tiff_exif(image)
            except Exception:  # of the pixels, or of a tag, which makes Pillow raise after it has them
                if not _has_tiff_pixels(source):
                    raise
                return Reading(name, width, height, keep=UNWRITABLE)
        else:
            image.load()
        plain = _without_palette(image)
        if plain is None:
            return Reading(name, width, height, keep=f"mode {image.mode}")
        pixels, alpha = _planes(plain)
        icc, xmp = image.info.get("icc_profile") or b"", image.info.get("xmp") or b""
        picture = Picture(
            pixels, alpha, bytes(icc), bytes(exif or b""), xmp.encode() if isinstance(xmp, str) else bytes(xmp)
        )
        if not _is_writable(picture, name):
            return Reading(name, picture.width, picture.height, keep=UNWRITABLE)
        return Reading(name, picture.width, picture.height, picture)


def _is_writable(picture: Picture, source_format: str) -> bool:
    """Whether a decode can write the picture's metadata into the format in which it writes this source.

    It is tried with one pixel: no parser of EXIF tells what another program's writer refuses.
    """
    if not (picture.icc or picture.exif or picture.xmp):
        return True
    wanted = format_for(picture, format_of_decoded(source_format))
    alpha = None if picture.alpha is None else picture.alpha[:1, :1]
    try:
        write_picture(replace(picture, pixels=picture.pixels[:1, :1], alpha=alpha), wanted)
    except Exception:
        return False
    return True


def _why_not_coded(image: Image.Image, source: bytes, max_pixels: int) -> str | None:
    """Why an opened image is kept as it is; None when its pixels are read."""
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
    """The image as L, LA, RGB or RGBA without any loss, or None if none of these can hold it."""
    transparent = "transparency" in image.info
    match image.mode:
        case "1":
            return image.convert("L")
        case "P":
            return image.convert("RGBA" if transparent or (image.palette and image.palette.mode == "RGBA") else "RGB")
        case "PA":
            return image.convert("RGBA")
        case "L" | "RGB" if transparent:  # one colour means "transparent"
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


def _has_tiff_pixels(source: bytes) -> bool:
    """Whether a TIFF's pixels can be read, whatever its tags are."""
    with Image.open(io.BytesIO(source)) as image:
        image.load_end = lambda: None  # type: ignore[method-assign]  # the method that reads further tags
        try:
            image.load()
        except Exception:
            return False
    return True


def _tiff_exif(image: Image.Image) -> bytes:
    """An EXIF block of a TIFF's descriptive tags, without the orientation: Pillow has applied it."""
    tags, block = image.getexif(), Image.Exif()
    for tag in _DESCRIPTIVE_TAGS:
        if tag in tags:
            block[tag] = tags[tag]
    for directory in _EXIF_DIRECTORIES:
        if entries := tags.get_ifd(directory):
            block._ifds[directory] = entries  # Pillow has no public way to set a directory
            block[directory] = 0
    return block.tobytes() if len(block) else b""


def _reason(error: Exception) -> str:
    """One printable line; never raises, whatever the parser raised."""
    try:
        text = "".join(c if c.isprintable() else "?" for c in " ".join(str(error).split()))
    except Exception:
        text = ""
    if isinstance(error, ImpossibleSize):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be read"
    return f"cannot be decoded: {text[:200]}" if text else f"cannot be decoded ({type(error).__name__})"
