"""A TIFF comes back with every tag of its page; raws, layers, pages, extra bands and what is unknown are kept."""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import photo_like
from tests.pipeline.containers.files import GREY, RGB, encoded, picture_of, restored, rgba, why_kept

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, DOUBLE = 1, 2, 3, 4, 5, 7, 12
SIZES = {BYTE: 1, ASCII: 1, SHORT: 2, LONG: 4, RATIONAL: 8, UNDEFINED: 1, DOUBLE: 8}
Tag = tuple[int, int, bytes]


def directory(order: str, tags: Sequence[Tag], at: int, following: int = 0) -> bytes:
    out, values = struct.pack(order + "H", len(tags)), b""
    place = at + 6 + 12 * len(tags)
    for tag, kind, data in sorted(tags):
        out += struct.pack(order + "HHI", tag, kind, len(data) // SIZES[kind])
        out += data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(order + "I", place + len(values))
        values += data + bytes(len(data) & 1) if len(data) > 4 else b""
    return out + struct.pack(order + "I", following) + values


def tiff(
    *tags: Tag,
    order: str = "<",
    pixels: np.ndarray | None = None,
    photometric: int = 2,
    extra: Sequence[int] = (),
    below: dict[int, Sequence[Tag]] | None = None,
    behind: bytes = b"",
    leave: bytes = b"",
    depths: Sequence[int] = (),
) -> bytes:
    """A TIFF with these tags beside those of its pixels; `below` are directories under tags, as EXIF is."""
    image = np.asarray(RGB) if pixels is None else pixels
    height, width, bands = image.shape
    data = zlib.compress(image.tobytes())
    out = (b"II*\0" if order == "<" else b"MM\0*") + bytes(4) + data + bytes(len(data) & 1) + leave
    tags_of_page = list(tags)
    for tag, entries in (below or {}).items():
        tags_of_page.append((tag, LONG, struct.pack(order + "I", len(out))))
        out += directory(order, entries, len(out))

    def short(tag: int, *values: int) -> Tag:
        return tag, SHORT, struct.pack(f"{order}{len(values)}H", *values)

    storage = [
        short(256, width),
        short(257, height),
        short(258, *depths or [8 * image.itemsize] * bands),
        short(259, 8),
    ]
    storage += [short(262, photometric), (273, LONG, struct.pack(order + "I", 8)), short(277, bands)]
    storage += [short(278, height), (279, LONG, struct.pack(order + "I", len(data)))]
    storage += [short(338, *extra)] if extra else []
    out = out[:4] + struct.pack(order + "I", len(out)) + out[8:]
    return out + directory(order, [*storage, *tags_of_page], len(out)) + behind


def short(order: str, *values: int) -> bytes:
    return struct.pack(f"{order}{len(values)}H", *values)


def rational(order: str, *values: int) -> bytes:
    return struct.pack(f"{order}{len(values)}I", *values)


def facts(source: bytes) -> dict[int, tuple[Any, str]]:
    """All tags of the page and of the directories below it, by tifffile; those about storage left out."""
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffFile(io.BytesIO(source)) as file:
        (page,) = file.pages
        found = {tag.code: (tag.dtype, str(getattr(tag.value, "tolist", lambda v=tag.value: v)())) for tag in page.tags}
        found[-1] = (file.byteorder, "")
    storage = {254, 256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 338, 339}
    return {code: value for code, value in found.items() if code not in storage}


@pytest.mark.parametrize("order", ["<", ">"])
def test_tags_come_back_with_type_and_value_in_the_files_byte_order(order: str) -> None:
    source = tiff(
        (270, ASCII, b"a description, caf\xc3\xa9\0"),
        (271, ASCII, b"Maker\0"),
        (274, SHORT, short(order, 1)),
        (282, RATIONAL, rational(order, 6000, 10)),
        (283, RATIONAL, rational(order, 3000, 10)),
        (296, SHORT, short(order, 2)),
        (301, SHORT, short(order, *range(768))),
        (306, ASCII, b"2021:01:02 03:04:05\0"),
        (318, RATIONAL, rational(order, 3127, 10000, 3290, 10000)),
        (319, RATIONAL, rational(order, 64, 100, 33, 100, 21, 100, 71, 100, 15, 100, 6, 100)),
        (700, BYTE, b"<x:xmpmeta/>"),
        (33432, ASCII, b"Ada\0"),
        (33550, DOUBLE, struct.pack(order + "3d", 0.5, 0.5, 0.0)),
        (33723, LONG, struct.pack(order + "2I", 0x1C027800, 7)),
        (33922, DOUBLE, struct.pack(order + "6d", 0, 0, 0, 400000.5, 5600000.25, 0)),
        (34377, BYTE, b"8BIM\4\4\0\0\0\0\0\0"),
        (34675, UNDEFINED, b"p" * 500),
        (34735, SHORT, short(order, 1, 1, 0, 1, 1024, 0, 1, 1)),
        (34737, ASCII, b"WGS 84 / UTM|\0"),
        (40092, BYTE, "comment\0".encode("utf-16-le")),
        (42112, ASCII, b"<GDALMetadata/>\0"),
        (42113, ASCII, b"255\0"),
        order=order,
        below={
            34665: [
                (33434, RATIONAL, rational(order, 1, 250)),
                (36864, UNDEFINED, b"0232"),
                (37510, UNDEFINED, b"ASCII\0\0\0hello"),
            ],
            34853: [(1, ASCII, b"N\0"), (2, RATIONAL, rational(order, 52, 1, 30, 1, 0, 1))],
        },
    )
    back = restored(source)
    expected = facts(source)
    assert len(expected) > 20 and facts(back) == expected
    assert np.array_equal(rgba(back), rgba(source))
    picture = picture_of(source)
    assert (picture.icc, picture.xmp) == (b"p" * 500, b"<x:xmpmeta/>")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_comes_back_and_the_pixels_stay_as_they_are_stored(orientation: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    source = tiff((274, SHORT, short("<", orientation)))
    back = restored(source)
    assert facts(back)[274] == facts(source)[274]
    with tifffile.TiffFile(io.BytesIO(back)) as file:
        assert np.array_equal(file.pages[0].asarray(), np.asarray(RGB))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_stay_as_they_are_stored_where_xmp_alone_gives_the_orientation(orientation: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    square = photo_like(24, 24)
    xmp = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    back = restored(tiff((700, BYTE, xmp), pixels=square))
    with tifffile.TiffFile(io.BytesIO(back)) as file:
        assert np.array_equal(file.pages[0].asarray(), square)
    assert xmp in back


@pytest.mark.parametrize(
    "form", ["grey", "palette", "alpha", "grey and alpha", "ycbcr in jpeg", "lzw", "white is zero"]
)
def test_kinds_of_pixels_that_come_back(form: str) -> None:
    image = {
        "grey": lambda: encoded(GREY, "TIFF"),
        "palette": lambda: encoded(RGB.quantize(31), "TIFF"),
        "alpha": lambda: tiff(pixels=photo_like(24, 40, 4), extra=[2]),
        "grey and alpha": lambda: tiff(pixels=photo_like(24, 40, 2), photometric=1, extra=[2]),
        "ycbcr in jpeg": lambda: encoded(RGB, "TIFF", compression="jpeg"),
        "lzw": lambda: encoded(RGB, "TIFF", compression="tiff_lzw"),
        "white is zero": lambda: tiff(pixels=photo_like(24, 40, 1), photometric=0),
    }[form]()
    assert np.array_equal(rgba(restored(image)), rgba(image))


def palette_of_16_bits() -> bytes:
    colours = (320, SHORT, short("<", *[i * 253 for i in range(256)] * 3))
    return tiff(colours, pixels=photo_like(24, 40, 1), photometric=3)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (tiff((50706, BYTE, b"\1\4\0\0")), "camera raw"),
        (tiff((37724, UNDEFINED, b"Adobe Photoshop Document Data Block\0")), "layers"),
        (tiff((330, LONG, struct.pack("<I", 8))), "several frames or pages"),
        (tiff((254, LONG, struct.pack("<I", 1))), "several frames or pages"),
        (tiff((255, SHORT, short("<", 3))), "several frames or pages"),
        (tiff(pixels=photo_like(24, 40, 4)), "extra bands"),
        (tiff(pixels=photo_like(24, 40, 4), extra=[0]), "extra bands"),
        (palette_of_16_bits(), "more than 8 bits"),
        (tiff(pixels=photo_like(24, 40, 4), extra=[2], depths=[8]), "unexpected length"),
        (tiff((65000, LONG, struct.pack("<I", 40))), "unknown tags"),
        (tiff(below={34665: [(37500, UNDEFINED, b"places in the file")]}), "maker note"),
        (tiff(behind=b"an archive behind the image"), "bytes that no tag refers to"),
        (tiff(leave=b"bytes between that may be anything " * 3), "bytes that no tag refers to"),
        (encoded(RGB, "TIFF", big_tiff=True), "another kind"),
    ],
    ids=[
        "dng",
        "layers",
        "sub-ifds",
        "thumbnail",
        "old page",
        "no extra samples tag",
        "unspecified",
        "deep palette",
        "one depth for all",
        "private",
        "maker note",
        "behind",
        "between",
        "bigtiff",
    ],
)
def test_what_cannot_be_carried_keeps_the_file(source: bytes, why: str) -> None:
    assert why in why_kept(source)


def preview_beside_strips() -> bytes:
    """An uncompressed page and a small JPEG of it, as scanners and some cameras write it."""
    preview = encoded(RGB.resize((20, 12)), "JPEG")
    length = (514, LONG, struct.pack("<I", len(preview)))
    place = tiff((513, LONG, bytes(4)), length, leave=preview).index(preview)
    return tiff((513, LONG, struct.pack("<I", place)), length, leave=preview)


def jpeg_in_a_strip(strip: bytes, compression: int = 7) -> bytes:
    """A TIFF whose one strip is this JPEG."""
    tags = [(256, 40), (257, 24), (258, 8, 8, 8), (259, compression), (262, 6), (277, 3), (278, 24), (530, 2, 2)]
    page: list[Tag] = [(tag, SHORT, short("<", *values)) for tag, *values in tags]
    page += [(273, LONG, struct.pack("<I", 8)), (279, LONG, struct.pack("<I", len(strip)))]
    if compression == 6:
        page += [(513, LONG, struct.pack("<I", 8)), (514, LONG, struct.pack("<I", len(strip)))]
    at = 8 + len(strip) + len(strip) % 2
    return struct.pack("<2sHI", b"II", 42, at) + strip + bytes(len(strip) % 2) + directory("<", page, at)


JPEG = encoded(RGB, "JPEG", quality=90, subsampling="4:2:0")
SEGMENT = b"\xff\xe1\0\x10Exif\0\0II*\0\x08\0\0\0"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (preview_beside_strips(), "a JPEG beside the pixels"),
        (tiff((347, UNDEFINED, b"tables of a JPEG, which this file is not")), "a JPEG beside the pixels"),
        (tiff((320, SHORT, short("<", *range(768)))), "a colour map beside colours"),
        (tiff((320, SHORT, short("<", *range(768))), pixels=photo_like(24, 40, 1), photometric=1), "a colour map"),
        (jpeg_in_a_strip(JPEG[:20] + SEGMENT + JPEG[20:]), "metadata in the JPEG"),
        (jpeg_in_a_strip(JPEG[:20] + SEGMENT + JPEG[20:], compression=6), "metadata in the JPEG"),
        (jpeg_in_a_strip(JPEG[:20] + b"\xff\xfe\0\5abc" + JPEG[20:]), "metadata in the JPEG"),
        (jpeg_in_a_strip(JPEG + b"words behind the end"), "bytes behind the JPEG"),
    ],
    ids=["preview", "tables", "map of rgb", "map of grey", "exif", "exif in old jpeg", "comment", "behind"],
)
def test_what_stands_among_tags_or_pieces_of_the_pixels_keeps_the_file(source: bytes, why: str) -> None:
    assert why in why_kept(source)


def test_a_jpeg_of_pixels_alone_comes_back() -> None:
    source = jpeg_in_a_strip(JPEG + bytes(3))
    assert np.array_equal(rgba(restored(source)), rgba(source))


def test_dithering_comes_back() -> None:
    assert facts(restored(tiff((263, SHORT, short("<", 2)), (264, SHORT, short("<", 4)))))[263][1] == "2"


def test_premultiplied_alpha_keeps_the_file() -> None:
    assert why_kept(tiff(pixels=photo_like(24, 40, 4), extra=[1]))


def test_a_raw_whose_first_page_is_a_thumbnail_is_kept_whole(tmp_path: Path) -> None:
    """A camera's raw: the first page is small and 8-bit, the 16-bit image stands in a directory below it."""
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "camera.nef"
    raw = np.arange(64 * 96, dtype=np.uint16).reshape(64, 96)
    with tifffile.TiffWriter(path) as file:
        file.write(np.asarray(RGB), photometric="rgb", subifds=1, subfiletype=1)
        file.write(raw, photometric="minisblack")
    assert why_kept(path.read_bytes()) == "several frames or pages"


def test_zeros_that_pad_a_file_are_no_obstacle() -> None:
    assert Image.open(io.BytesIO(restored(tiff(leave=bytes(200), behind=bytes(100))))).size == (40, 24)
