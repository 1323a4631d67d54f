"""Reading image files: a picture for the codec, RGB pixels for learning, or a reason why not.

    outcome = read(source)
    Reading with a picture      8-bit grey or RGB, alpha split off, and all else that the file holds beside it
    Reading without a picture   a valid image that the codec does not code; `keep` is the reason, the archive keeps the
                                bytes
    Rejected                    not an image, damaged or truncated; `reason` goes into the rejections table

Use it through `pipeline.images.sandbox.sandbox` for files that you did not make yourself: the decoders are
written in C.

Every picture holds the file's own pixels. Orientation is stored, not applied; a palette is replaced
by its colours; grey stays one channel. `pipeline.containers` reads what else the file holds, and a
file that holds something that would not come back is kept.
Alpha is kept even where all of it is opaque: an RGBA file must come back as RGBA, and a constant
plane costs a few bytes.
"""

import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from model.core.picture import MAX_SIDE, Picture
from pipeline.containers.contents import Contents, Unexpected
from pipeline.containers.read import read_contents
from pipeline.containers.skeleton_bytes import pack
from pipeline.images.formats import heif, jxl_file
from pipeline.images.formats.bit_depth import holds_12_bits, is_deep
from pipeline.images.formats.tiff_exif import as_stored, has_tiff_pixels, orientation_of, stored_size, tiff_exif
from pipeline.images.limits import MAX_PIXELS
from pipeline.images.perceptual_hash import perceptual_hash
from pipeline.images.reading import Reading, Rejected
from pipeline.images.self_check import UNWRITABLE, problem_with
from pipeline.images.window import Window

_DECODED = frozenset(
    {
        "AVIF",
        "BMP",
        "DIB",
        "GIF",
        "HEIF",
        "JPEG",
        "JPEG2000",
        "JXL",
        "PCX",
        "PNG",
        "PPM",
        "QOI",
        "SGI",
        "TGA",
        "TIFF",
        "WEBP",
    }
)
"""Formats whose pixels are read. Other formats of Pillow's are kept as they are: some are
containers of several images (ICO, PSD), some start other programs when they are loaded (EPS). DIB,
PCX, SGI and TGA are read for learning only, as nothing carries what they hold beside pixels."""

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
        with pillow_settings():
            return _read(source, max_pixels)
    except MemoryError:
        raise
    except Exception as e:
        return Rejected("read", _reason(e))


def read_rgb(
    source: bytes, *, max_pixels: int = MAX_PIXELS, window: Window | None = None
) -> NDArray[np.uint8] | Rejected:
    """Decode one source as 8-bit RGB, for learning, without alpha and metadata.

    Files that `read` keeps for their mode, bit depth or number of frames are converted, too (the
    first frame). Of 12 and 16 bits the upper 8 are taken. Numbers of 32 bits and floats have no
    white of their own: the smallest of the image becomes 0, the largest 255. Orientation is not
    applied.

    Args:
        source: the whole file.
        max_pixels: larger images are refused by their header.
        window: the part to return; None: all of it.

    Returns:
        uint8 `[H, W, 3]`, or a Rejected.

    Raises:
        MemoryError: as `read` does.
    """
    try:
        with pillow_settings(), _opened(source) as image:
            if image.format not in _DECODED:
                return Rejected("read", f"format {(image.format or 'unknown').lower()}")
            width, height = possible_size(image.size)
            if width * height > max_pixels:
                return Rejected("read", "too many pixels")
            Image.MAX_IMAGE_PIXELS = max_pixels
            turned = orientation_of(image) if image.format == "TIFF" else 1  # before loading, which turns the picture
            whole = as_stored(_in_eight_bits(image), turned)
            part = whole if window is None else whole.crop(window.box(*whole.size))
            return np.asarray(part.convert("RGB"))
    except MemoryError:
        raise
    except Exception as e:  # as in `read`
        return Rejected("read", _reason(e))


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """An image of one deeper channel as 8-bit grey, others as they are: Pillow would cut each sample off at 255."""
    if image.mode.startswith("I;16"):
        unused = 4 if holds_12_bits(image) else 8
        return Image.fromarray((np.asarray(image) >> unused).astype(np.uint8))
    if image.mode not in ("I", "F"):
        return image
    levels = np.asarray(image, np.float64)
    known = levels[np.isfinite(levels)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # 16 bits, which Pillow holds in 32
        low, high = 0.0, 65535.0
    levels = np.nan_to_num(levels, nan=low, posinf=high, neginf=low)
    return Image.fromarray(np.rint((levels - low) * (255 / ((high - low) or 1.0))).astype(np.uint8))


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
def pillow_settings() -> Iterator[None]:
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
    with _opened(source) as image:
        name = (image.format or "unknown").lower()
        width, height = possible_size(stored_size(image))
        keep = _why_not_coded(image, source, max_pixels)
        if keep is not None:
            return Reading(name, width, height, keep=keep)
        Image.MAX_IMAGE_PIXELS = max_pixels  # an image inside the file may be larger than the header says
        try:
            contents = _contents(image, name, source)
            keep = None if contents else UNWRITABLE
        except Unexpected as e:
            contents, keep = None, str(e)
            if not keep.startswith("container"):  # another kind of file; else its pixels tell whether it is sound
                return Reading(name, width, height, keep=keep)
        try:
            turned = orientation_of(image) if name == "tiff" else 0  # before loading, which turns the picture
            image.load()
        except Exception:  # of the pixels, or of a TIFF's tag, which makes Pillow raise after it has them
            if image.format != "TIFF" or not has_tiff_pixels(source):
                raise
            return Reading(name, width, height, keep=UNWRITABLE)
        if contents is None:
            return Reading(name, width, height, keep=keep)
        plain = _without_palette(as_stored(image, turned) if turned else image)
        if plain is None:
            return Reading(name, width, height, keep=f"mode {image.mode}")
        columns = contents.columns
        picture = Picture(*_planes(plain), columns.icc, columns.exif, columns.xmp, pack(contents.skeleton))
        if keep := problem_with(picture, contents, name):
            return Reading(name, contents.width, contents.height, keep=keep)
        return Reading(name, picture.width, picture.height, picture, phash=perceptual_hash(plain))


def _opened(source: bytes) -> Image.Image:
    """The file as Pillow opens it, but a JPEG with further images behind it as its first one."""
    if (other := heif.opened(source) or jxl_file.opened(source)) is not None:
        return other
    image = Image.open(io.BytesIO(source))
    if image.format != "MPO":
        return image
    image.close()
    return JpegImagePlugin.JpegImageFile(io.BytesIO(source))


def _contents(image: Image.Image, name: str, source: bytes) -> Contents | None:
    """What an opened file holds beside its pixels; None when its tags cannot be read.

    Raises:
        Unexpected: when it holds something that is not carried.
    """
    # Before loading: AVIF and TIFF rewrite `info` as they load.
    exif, xmp = image.info.get("exif") or b"", image.info.get("xmp") or b""
    if name == "tiff":
        try:
            exif = tiff_exif(image)
        except Exception:
            return None
    return read_contents(name, source, exif=bytes(exif), xmp=bytes(xmp), bands=_bands(image))


def _bands(image: Image.Image) -> int:
    """Bands once a palette is looked up and a transparent colour has become alpha."""
    bands = {"1": 1, "L": 1, "LA": 2, "RGB": 3, "P": 3, "PA": 4, "RGBA": 4}.get(image.mode, 0)
    return bands + (bands in (1, 3) and "transparency" in image.info)


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
