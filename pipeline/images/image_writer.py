"""Writing pictures as image files.

PNG, WebP (in its lossless mode) and TIFF are written without loss. JPEG is written with the
quantisation tables and the sampling of its source, of which its pixels are made; at quality 95
without chroma subsampling if they are unknown. JPEG XL is a lossless transcode of that JPEG; AVIF is
written at quality 95 without chroma subsampling. These three are not written with alpha: such a
picture becomes a PNG.
"""

import io
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from PIL import ExifTags, Image

from model.core.picture import Picture
from pipeline.containers import other_format, webp
from pipeline.containers.contents import Columns, Part, Skeleton
from pipeline.containers.jpeg import jpeg
from pipeline.containers.jpeg.quantisation import quantisation_of
from pipeline.containers.other_format import Facts
from pipeline.containers.png import png
from pipeline.containers.skeleton_bytes import unpack
from pipeline.containers.tiff import tiff
from pipeline.containers.tiff.tags import STORAGE, SUB_IFDS
from pipeline.images.formats.jpeg_xl import to_jxl

Format = Literal["png", "jpeg", "webp", "tiff", "avif", "jxl"]
FORMATS: tuple[Format, ...] = get_args(Format)
LOSSY: frozenset[Format] = frozenset({"jpeg", "avif", "jxl"})
"""Formats whose writing adds a little to the archive's own loss of pixels."""
AGAIN = "pixels compressed again"
"""The name of that loss."""

SUFFIXES: dict[Format, str] = {
    "png": ".png",
    "jpeg": ".jpg",
    "webp": ".webp",
    "tiff": ".tif",
    "avif": ".avif",
    "jxl": ".jxl",
}
"""Suffix per format, appended to the name of a file whose format changed."""

_BY_SUFFIX: dict[str, Format] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".avif": "avif",
    ".jxl": "jxl",
}
_OWN: frozenset[str] = frozenset({"png", "jpeg", "webp", "tiff"})
"""Formats that have skeletons: their sources come back in their own format."""
_MOST: dict[Format, int] = {"webp": 16_383, "jpeg": 65_500, "jxl": 65_500, "avif": 32_768}
"""Longest side in pixels."""
_REWRITING_EXIF: frozenset[Format] = frozenset({"tiff", "avif"})
"""Formats in whose files EXIF is written anew, without its thumbnail."""
_XMP_TAG = 700
_JPEG_QUALITY, _AVIF_QUALITY = 95, 95
"""Both at 4:4:4. On photographs they add an error of 45 dB, and SSIMULACRA2 stays at 90 or more, which
is hard to tell from the picture itself."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file, and how it differs from what was asked for.

    Attributes:
        data: the whole file.
        form: its format, by Pillow's name in lower case.
        instead: why it has another format than the wanted one; empty when it has that.
        lost: names of what the picture has and the file has not.
    """

    data: bytes
    form: str
    instead: str = ""
    lost: tuple[str, ...] = ()


def format_of(name: str) -> Format | None:
    """The format of a file name's suffix; None for any other suffix."""
    dot = name.rfind(".")
    return _BY_SUFFIX.get(name[dot:].lower()) if dot >= 0 else None


def format_of_decoded(source_format: str) -> Format:
    """The format in which a compressed image is written by default: its source's, or PNG as a substitute."""
    return source_format if source_format in _OWN else "png"  # type: ignore[return-value]


def own_formats(wanted: str) -> frozenset[str]:
    """Source formats whose compressed images get files of their own format.

    Args:
        wanted: "same", or what is asked for.
    """
    return _OWN if wanted == "same" else frozenset({wanted} & set(FORMATS))


def format_for(picture: Picture, wanted: Format) -> Format:
    """The wanted format, or "png" if that cannot hold the picture (alpha, or sides too long)."""
    return "png" if _misfit(picture, wanted) else wanted


def _misfit(picture: Picture, wanted: Format) -> str:
    """Why a format cannot hold the picture; empty if it can."""
    if wanted in LOSSY and picture.alpha is not None:
        return "alpha"
    return "size" if max(picture.width, picture.height) > _MOST.get(wanted, 1 << 31) else ""


def write_as(picture: Picture, wanted: Format) -> Written:
    """A whole image file in a format, or as a PNG where that format cannot hold what the picture is.

    A PNG replaces it for alpha, too long sides, colours that only a tag of PNG's describes, and
    metadata that does not fit. What is not worth another format, such as a comment, is left out and
    named.

    Args:
        picture: grey or RGB, with or without alpha.
        wanted: the format asked for.

    Raises:
        ValueError: when not even a PNG can hold it, or the skeleton is damaged.
    """
    facts = _facts(picture, wanted)
    instead = _misfit(picture, wanted) or ("colour tag" if facts.colour and wanted != "png" else "")
    if not instead:
        try:
            data = write_picture(picture, wanted)
        except Exception:  # of an encoder that refuses metadata
            if wanted == "png":
                raise
            instead = "metadata"
        else:
            lost = _lost_in(wanted, facts, picture)
            return Written(data, wanted, "", lost + ((AGAIN,) if wanted in LOSSY else ()))
    lost = _lost_in("png", _facts(picture, "png"), picture)
    return Written(write_picture(picture, "png"), "png", instead, lost)


def _lost_in(form: Format, facts: Facts, picture: Picture) -> tuple[str, ...]:
    lost = other_format.lost_in(form, facts, exif=bool(picture.exif))
    thumbnail = form in _REWRITING_EXIF and _own_skeleton(picture, form) is None and _has_thumbnail(picture.exif)
    return (*lost, "thumbnail") if thumbnail and "thumbnail" not in lost else lost


def _has_thumbnail(exif: bytes) -> bool:
    tags = Image.Exif()
    try:
        tags.load(exif)
        return bool(tags.get_ifd(ExifTags.IFD.IFD1))
    except Exception:  # a damaged block makes Pillow raise almost anything
        return False


def write_picture(picture: Picture, wanted: Format) -> bytes:
    """A whole image file with the picture's metadata, as far as the format has places for it.

    A file in the format of the picture's source gets all that its source held; in another format,
    see `pipeline.containers.other_format`.

    Args:
        picture: grey or RGB, with or without alpha.
        wanted: a format that can hold it; see `format_for`.

    Raises:
        ValueError: when the format cannot hold the picture or its metadata, or the skeleton is
            damaged.
    """
    columns = Columns(picture.icc, picture.exif, picture.xmp)
    own = _own_skeleton(picture, wanted)
    facts = Facts() if own else _facts(picture, wanted)
    match wanted:
        case "png":
            # Level 3 is twice as fast as the default, and photographs get no smaller with more.
            encoded = _encoded(picture, "PNG", compress_level=3)
            return png.write(encoded, own or _png_skeleton(columns, facts), columns)
        case "jpeg" | "jxl":
            if picture.alpha is not None:
                raise ValueError("JPEG cannot hold alpha")
            encoded = _jpeg(picture, own)
            written = jpeg.write(encoded, own or _jpeg_skeleton(columns, facts), columns)
            return written if wanted == "jpeg" else _transcoded(written)
        case "webp":
            encoded = _encoded(picture, "WEBP", lossless=True, exact=True, method=2)
            size, alpha = (picture.width, picture.height), picture.alpha is not None
            columns = _with_density(columns, facts)
            return webp.write(encoded, own or webp.default_skeleton(columns), columns, size, alpha)
        case "avif":
            return _avif(picture, _with_density(columns, facts))
        case "tiff":
            return _tiff(picture, own, columns, facts)


def _own_skeleton(picture: Picture, wanted: Format) -> Skeleton | None:
    """The skeleton, if it is one of the wanted format."""
    skeleton = unpack(picture.skeleton) if picture.skeleton else None
    own = "jpeg" if wanted == "jxl" else wanted
    return skeleton if skeleton is not None and skeleton.form == own else None


def _facts(picture: Picture, wanted: Format) -> Facts:
    """What has to find a place in a file of another format than the source's."""
    if not picture.skeleton or _own_skeleton(picture, wanted) is not None:
        return Facts()
    return other_format.facts_of(unpack(picture.skeleton), Columns(picture.icc, picture.exif, picture.xmp))


def _png_skeleton(columns: Columns, facts: Facts) -> Skeleton:
    plain = png.default_skeleton(columns)
    return replace(plain, before=(*plain.before, *other_format.png_parts(facts)))


def _jpeg_skeleton(columns: Columns, facts: Facts) -> Skeleton:
    plain = jpeg.default_skeleton(columns)
    jfif, parts = other_format.jpeg_parts(facts)
    return replace(plain, before=(Part(b"\xe0", (jfif,)), *plain.before[1:], *parts))


def _with_density(columns: Columns, facts: Facts) -> Columns:
    """The columns with an EXIF block that tells the density, where there is none."""
    if columns.exif or facts.density is None:
        return columns
    return replace(columns, exif=other_format.exif_with(facts.density))


def _transcoded(written: bytes) -> bytes:
    jxl = to_jxl(written)
    if jxl is None:
        raise ValueError("JPEG XL cannot hold this image's metadata")
    return jxl


def _avif(picture: Picture, columns: Columns) -> bytes:
    if picture.alpha is not None:
        raise ValueError("AVIF is not written with alpha")
    names = {"icc_profile": columns.icc, "exif": columns.exif, "xmp": columns.xmp}
    options: dict[str, Any] = {name: data for name, data in names.items() if data}
    subsampling = "4:0:0" if picture.pixels.shape[2] == 1 else "4:4:4"
    return _encoded(picture, "AVIF", quality=_AVIF_QUALITY, subsampling=subsampling, max_threads=1, **options)


def _tiff(picture: Picture, own: Skeleton | None, columns: Columns, facts: Facts) -> bytes:
    encoded = _encoded(picture, "TIFF", compression="tiff_adobe_deflate")
    if own is not None:
        return tiff.write(encoded, own, columns)
    tags = Image.Exif()  # all tags go there: Pillow takes no EXIF beside `tiffinfo`
    if picture.exif:
        tags.load(picture.exif)
        below = tags.get_ifd(ExifTags.IFD.Exif)
        if ExifTags.IFD.Interop in below:  # there is a place in the block
            below[ExifTags.IFD.Interop] = tags.get_ifd(ExifTags.IFD.Interop)
    for tag in (STORAGE | {SUB_IFDS}) & tags.keys():  # cameras write the size of the picture, too
        del tags[tag]
    for tag, data in (*other_format.tiff_tags(facts).items(), (_XMP_TAG, picture.xmp)):
        if data:
            tags[tag] = data
    if density := facts.density:
        unit = {other_format.RATIO: 1, other_format.INCH: 2, other_format.CENTIMETRE: 3}[density.unit]
        tags[282], tags[283], tags[296] = float(density.x), float(density.y), unit
    options: dict[str, Any] = {"icc_profile": picture.icc} if picture.icc else {}
    if not tags and not options:
        return encoded
    # Written apart, as Pillow's encoder of compressed TIFFs fails on a directory of EXIF.
    described = _encoded(Picture(np.zeros((1, 1, 1), np.uint8)), "TIFF", exif=tags, **options)
    return tiff.write_with_tags_of(encoded, described)


def _jpeg(picture: Picture, skeleton: Skeleton | None) -> bytes:
    stored = None if skeleton is None else quantisation_of(skeleton, picture.pixels.shape[2])
    if stored is None:
        return _encoded(picture, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    options: dict[str, Any] = {"qtables": [list(table) for table in stored.tables], "subsampling": stored.sampling}
    encoded = _encoded(picture, "JPEG", **options)
    # Optimised codes save 3 to 5 %. Pillow gives their encoder a buffer of a byte per pixel, and fails beyond it.
    fits = len(encoded) <= picture.width * picture.height
    return _encoded(picture, "JPEG", optimize=True, **options) if fits else encoded


def _encoded(picture: Picture, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    to_image(picture).save(file, form, **options)
    return file.getvalue()


def to_image(picture: Picture) -> Image.Image:
    """The picture's planes as Pillow's L, LA, RGB or RGBA, without its metadata."""
    planes = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    return Image.fromarray(planes[:, :, 0] if planes.shape[2] == 1 else planes)
