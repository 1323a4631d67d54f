"""A TIFF around samples that are stored elsewhere: every tag but those of compression, strips and tiles.

Other than `pipeline.containers.tiff.tiff`, it carries what samples mean: bits, sample format, colours,
palette, inks and extra bands.
"""

import struct
import sys
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.containers.contents import Column, Columns, Part, Skeleton, Unexpected
from pipeline.containers.tiff import tags as tags
from pipeline.containers.tiff import tiff
from pipeline.containers.tiff.structure import Entry, TiffFile

_PAGE = 0
_COMPRESSIONS = frozenset({1, 5, 8, 32773, 32946})
"""None, LZW, deflate, PackBits, and deflate's old number."""
_COLOURS = frozenset({0, 1, 2, 3, 5, 8, 9})
"""White or black is zero, RGB, palette, CMYK, CIE Lab, ICC Lab."""
_UNSIGNED, _FLOAT = 1, 3
_KINDS = {(8, _UNSIGNED): "u1", (16, _UNSIGNED): "u2", (16, _FLOAT): "f2", (32, _FLOAT): "f4"}
_DEFLATE, _DIFFERENCES = 8, 2
_STRIP = 1 << 18
"""Bytes of a strip before compression."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Height, width and samples per pixel, NumPy's name of their type, and whether each band is a plane."""

    height: int
    width: int
    samples: int
    kind: str
    planar: bool


def split(source: bytes) -> tuple[Skeleton, Layout, bytes]:
    """The skeleton, the layout, and a TIFF for decoders, whose colours they do not convert.

    Raises:
        Unexpected: for anything but one finished picture whose samples are whole numbers of 8 or 16
            bits or floats of 16 or 32, and for what `tiff.read` refuses.
    """
    file = TiffFile.of(source)
    at = file.first()
    page, following = file.directory(at)
    tiff.check_kind(file, page, following)
    layout = _layout(file, page)
    _check_storage(file, page, layout)
    values = tiff.no_columns()
    carried = list(tiff.carried_parts(file, page, values, tags.MEANING))
    columns = Columns(values[Column.ICC], b"", values[Column.XMP])
    parts = [Part(tiff.ORDER, (b"II" if file.order == "<" else b"MM",))]
    parts += [Part(part.name, (part.data(columns),)) for part in carried]
    for tag in sorted(tags.MEANING & set(page)):
        parts.append(Part(tiff.name_of(_PAGE, tag, page[tag].kind), (page[tag].data,)))
    tiff.check_accounted(file)
    return Skeleton("tiff", tuple(parts)), layout, _as_grey(file, at)


def layout_of(skeleton: Skeleton, height: int, width: int) -> Layout:
    """The layout that a skeleton's tags give.

    Raises:
        ValueError: when they give none.
    """
    order, directories = tiff.directories(skeleton, Columns(), tags.MEANING)
    page = {entry.tag: entry for entry in directories.get(_PAGE, [])}
    try:
        return _kind(TiffFile(b"", order), page, height, width)
    except Unexpected as e:
        raise ValueError(str(e)) from None


def join(skeleton: Skeleton, samples: NDArray[Any]) -> bytes:
    """A TIFF with the skeleton and the samples `[H, W, S]`, in deflated strips."""
    order, directories = tiff.directories(skeleton, Columns(), tags.MEANING)
    height, width, _ = samples.shape
    whole = samples.dtype.kind == "u"
    rows = max(1, _STRIP // max(1, samples[:1].nbytes))
    strips = [_deflated(samples[at : at + rows], order, whole) for at in range(0, height, rows)]
    storage = [
        tiff.numbers_entry(tags.WIDTH, 4, [width], order),
        tiff.numbers_entry(tags.HEIGHT, 4, [height], order),
        tiff.numbers_entry(tags.COMPRESSION, 3, [_DEFLATE], order),
        tiff.numbers_entry(tags.ROWS_PER_STRIP, 4, [rows], order),
        tiff.numbers_entry(tags.PLANAR, 3, [1], order),
    ]
    storage += [tiff.numbers_entry(tags.PREDICTOR, 3, [_DIFFERENCES], order)] if whole else []
    return tiff.assemble(order, directories, storage, strips)


def _deflated(rows: NDArray[Any], order: str, whole: bool) -> bytes:
    if whole:
        rows = np.concatenate([rows[:, :1], rows[:, 1:] - rows[:, :-1]], axis=1)  # modulo the type's range
    native = "<" if sys.byteorder == "little" else ">"
    return zlib.compress((rows if order == native else rows.byteswap()).tobytes(), 6)


def _layout(file: TiffFile, page: dict[int, Entry]) -> Layout:
    width, height = (file.numbers(page.get(tag))[:1] for tag in (tags.WIDTH, tags.HEIGHT))
    if not width or not height:
        raise Unexpected("container: no size")
    return _kind(file, page, height[0], width[0])


def _kind(file: TiffFile, page: dict[int, Entry], height: int, width: int) -> Layout:
    (samples,) = file.numbers(page.get(tags.SAMPLES)) or (1,)
    bits = file.numbers(page.get(tags.BITS)) or (1,)
    formats = file.numbers(page.get(tags.SAMPLE_FORMAT)) or (_UNSIGNED,)
    colours = file.numbers(page.get(tags.PHOTOMETRIC))
    kind = _KINDS.get((bits[0], formats[0]))
    if kind is None or len(set(bits)) != 1 or len(set(formats)) != 1 or len(bits) not in (1, samples):
        raise Unexpected("samples of another kind")
    if len(colours) != 1 or colours[0] not in _COLOURS or not 1 <= samples <= 16:
        raise Unexpected("colours of an unknown kind")
    return Layout(height, width, samples, kind, file.numbers(page.get(tags.PLANAR)) == (2,))


def _check_storage(file: TiffFile, page: dict[int, Entry], layout: Layout) -> None:
    compression = file.numbers(page.get(tags.COMPRESSION)) or (1,)
    fill, planar = file.numbers(page.get(tags.FILL_ORDER)) or (1,), file.numbers(page.get(tags.PLANAR)) or (1,)
    if compression[0] not in _COMPRESSIONS or fill != (1,) or planar not in ((1,), (2,)):
        raise Unexpected("container: samples that are stored in another way")
    tiff.mark_pixels(file, page)
    lengths = file.numbers(page.get(tags.STRIP_BYTES))
    size = layout.height * layout.width * layout.samples * np.dtype(layout.kind).itemsize
    if compression[0] == 1 and lengths and sum(lengths) != size:
        raise Unexpected("container: strips that are longer than their rows")


def _as_grey(file: TiffFile, at: int) -> bytes:
    """The file with black as zero: decoders turn CMYK into RGB, and refuse Lab of 16 bits."""
    out = bytearray(file.source)
    (count,) = struct.unpack_from(file.order + "H", out, at)
    for place in range(at + 2, at + 2 + 12 * count, 12):
        if struct.unpack_from(file.order + "H", out, place)[0] == tags.PHOTOMETRIC:
            struct.pack_into(file.order + "H", out, place + 8, 1)
    return bytes(out)
