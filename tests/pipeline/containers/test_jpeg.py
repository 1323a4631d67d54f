"""A JPEG comes back with every segment, in order, and with what is behind its end; or it is kept."""

import io
import struct

import pytest
from PIL import Image

from tests.pipeline.containers.files import GREY, Segment, encoded, jpeg, picture_of, restored, segments, why_kept

JFIF = (0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
EXIF_BLOCK = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED = b"http://ns.adobe.com/xmp/extension/\0" + b"0123456789ABCDEF" * 2


def icc(*chunks: bytes) -> list[Segment]:
    return [(0xE2, b"ICC_PROFILE\0" + bytes([i, len(chunks)]) + data) for i, data in enumerate(chunks, 1)]


@pytest.mark.parametrize(
    "given",
    [
        [(0xE0, b"JFIF\0\1\2\1\1\x2c\1\x2c\0\0")],
        [(0xE0, b"JFIF\0\1\1\0\0\1\0\1\1\1abc")],
        [JFIF, (0xE0, b"JFXX\0\x10" + bytes(50))],
        [JFIF, (0xED, b"Photoshop 3.0\x008BIM\4\4\0\0\0\0\0\x0c\x1c\2\x78\0\7caption"), (0xFE, b"scanned")],
        [(0xFE, b"first"), JFIF, (0xFE, b"second \xff\xd9 \0")],
        [(0xE1, b"Exif\0\0" + EXIF_BLOCK)],
        [(0xE1, XMP + b"<x/>"), (0xE1, b"Exif\0\0" + EXIF_BLOCK), JFIF],
        [
            (0xE1, XMP + b"<x/>"),
            *[(0xE1, EXTENDED + struct.pack(">II", 90_000, i * 30_000) + bytes(30_000)) for i in range(3)],
        ],
        [JFIF, *icc(b"one" * 9000, b"two" * 9000)],
        [JFIF, *icc(b"one", b"two")[::-1]],
        [JFIF, icc(b"one", b"two")[0]],
        [(0xE1, b"Exif\0\0" + EXIF_BLOCK + b"a" * 65_000), (0xE1, b"Exif\0\0" + b"b" * 40_000)],
        [(0xE1, b"Exif\0\0" + EXIF_BLOCK), (0xE1, b"Exif\0\0" + EXIF_BLOCK + b"another")],
        [(0xE1, b"FLIR\0\1\0\1" + bytes(range(256)) * 100)],
        [JFIF, (0xEE, b"Adobe\0d\0\0\0\0\1")],
        [(0xEC, b"Ducky\0\1\0\4\0\0\0\x50"), (0xEB, b"JP\0\1")],
        [],
    ],
    ids=[
        "density",
        "thumbnail",
        "jfxx",
        "iptc",
        "comments",
        "exif",
        "order",
        "extended xmp",
        "icc",
        "icc out of order",
        "half a profile",
        "exif in two segments",
        "two exif blocks",
        "thermal",
        "adobe",
        "others",
        "none",
    ],
)
def test_segments_come_back_in_order(given: list[Segment]) -> None:
    for image in (None, GREY):
        source = jpeg(given) if image is None else jpeg(given, image=image)
        assert segments(restored(source)) == given


def test_what_readers_see_of_a_restored_jpeg_is_its_sources() -> None:
    given = [
        (0xE0, b"JFIF\0\1\2\1\1\x2c\1\x2c\0\0"),
        (0xE1, b"Exif\0\0" + EXIF_BLOCK),
        (0xE1, XMP + b"<x/>"),
        *icc(b"p" * 200),
    ]
    image = Image.open(io.BytesIO(restored(jpeg(given))))
    assert image.info["dpi"] == (300, 300) and image.info["icc_profile"] == b"p" * 200
    assert image.info["xmp"] == b"<x/>" and image.getexif()[274] == 6


def test_exif_in_two_segments_is_one_block_of_the_picture() -> None:
    source = jpeg([(0xE1, b"Exif\0\0" + EXIF_BLOCK + b"a" * 65_000), (0xE1, b"Exif\0\0" + b"b" * 40_000)])
    assert picture_of(source).exif == b"Exif\0\0" + EXIF_BLOCK + b"a" * 65_000 + b"b" * 40_000


def test_rgb_stored_without_conversion_is_written_as_what_its_adobe_segment_then_says() -> None:
    """An Adobe segment says how pixels are stored; with the source's, viewers would take YCbCr for RGB."""
    source = encoded(Image.new("RGB", (16, 16), (200, 30, 90)), "JPEG", keep_rgb=True, quality=95)
    assert dict(segments(source))[0xEE][11] == 0
    back = restored(source)
    assert dict(segments(back))[0xEE][11] == 1
    pixel = Image.open(io.BytesIO(back)).getpixel((8, 8))
    assert isinstance(pixel, tuple) and max(abs(a - b) for a, b in zip(pixel, (200, 30, 90), strict=True)) < 6


@pytest.mark.parametrize("behind", [b"\0" * 300, b"PK\3\4 an archive", b"\xff\xd8 a film \xff\xd9", b"x"])
def test_bytes_behind_the_end_come_back(behind: bytes) -> None:
    assert restored(jpeg([JFIF], behind)).endswith(b"\xff\xd9" + behind)


def multi_picture(order: str, first: int, others: list[tuple[int, int]]) -> bytes:
    """An MPF segment: the first image's length, and length and place of the others."""
    entries = [(0x30000, first, 0, 0, 0), *[(0, length, place, 0, 0) for length, place in others]]
    body = b"".join(struct.pack(order + "IIIHH", *entry) for entry in entries)
    head = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(order + "H", 3) + b"".join(
        (
            struct.pack(order + "HHI4s", 0xB000, 7, 4, b"0100"),
            struct.pack(order + "HHII", 0xB001, 4, 1, len(entries)),
            struct.pack(order + "HHII", 0xB002, 7, len(body), 8 + 2 + 36 + 4),
        )
    )
    return b"MPF\0" + head + struct.pack(order + "I", 8) + directory + bytes(4) + body


def with_second_image(order: str, second: bytes, shift: int = 0, hdrgm: bool = True) -> bytes:
    """A JPEG with a second image: a gain map, as phones write it, or a preview, as cameras do."""
    hdr = (0xE1, XMP + b'<x hdrgm:Version="1.0"/>' if hdrgm else b"nothing")
    blank = jpeg([hdr, (0xE2, multi_picture(order, 0, [(0, 0)]))])
    base = blank.index(b"MPF\0") + 4
    segment = multi_picture(order, len(blank), [(len(second), len(blank) - base + shift)])
    return jpeg([hdr, (0xE2, segment)], second)


@pytest.mark.parametrize("hdrgm", [True, False], ids=["gain map", "preview"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_second_image_comes_back_and_its_place_is_put_right(order: str, hdrgm: bool) -> None:
    second = encoded(GREY, "JPEG", quality=60)
    source = with_second_image(order, second, hdrgm=hdrgm)
    back = restored(source)
    assert len(back) != len(source), "then the test shows nothing"
    (segment,) = [data for marker, data in segments(back) if marker == 0xE2]
    _, length, _, _, _ = struct.unpack_from(order + "IIIHH", segment, 4 + 50)
    _, second_length, place, _, _ = struct.unpack_from(order + "IIIHH", segment, 4 + 66)
    start = back.index(b"MPF\0") + 4 + place
    assert back[start : start + second_length] == second
    assert back[:length].endswith(b"\xff\xd9") and length == start


def test_a_second_image_that_is_not_where_mpf_says_keeps_the_file() -> None:
    second = encoded(GREY, "JPEG")
    assert "second image" in why_kept(with_second_image("<", second, shift=7))
    assert "second image" in why_kept(with_second_image("<", second)[:-9])


@pytest.mark.parametrize("order", ["<I", ">I"])
@pytest.mark.parametrize("base", [0, 12])
def test_a_preview_that_a_maker_note_points_at_keeps_the_file(order: str, base: int) -> None:
    preview = encoded(GREY, "JPEG")
    note = b"Exif\0\0" + EXIF_BLOCK + b"MakerNote"
    blank = jpeg([(0xE1, note + bytes(4))])
    source = jpeg([(0xE1, note + struct.pack(order, len(blank) + 8 - base))], bytes(8) + preview)
    assert "points behind the end" in why_kept(source)
    assert restored(jpeg([(0xE1, note + struct.pack(order, 77))], bytes(8) + preview)).endswith(preview)


def exif_with_note(order: str, note: bytes, start: int | None = None) -> bytes:
    """An EXIF segment's content with a maker note, which starts at 44 unless the entry says otherwise."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    page = struct.pack(order + "HHHIII", 1, 34665, 4, 1, 26, 0)
    below = struct.pack(order + "HHHIII", 1, 37500, 7, len(note), 44 if start is None else start, 0)
    return b"Exif\0\0" + head + page + below + note


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("header", [b"OLYMPUS\0II\3\0", b"Nikon\0\2\x10\0\0"], ids=["own start", "own header"])
def test_a_preview_whose_place_counts_from_the_maker_note_keeps_the_file(order: str, header: bytes) -> None:
    preview = encoded(GREY, "JPEG")
    inside = 10 if header.startswith(b"Nikon") else 0

    def source(place: int, behind: bytes) -> bytes:
        return jpeg([(0xE1, exif_with_note(order, header + struct.pack(order + "I", place)))], behind)

    blank = source(0, b"")
    place = len(blank) + 8 - blank.index(header) - inside
    assert "points behind the end" in why_kept(source(place, bytes(8) + preview))
    assert restored(source(77, bytes(8) + preview)).endswith(preview)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_maker_note_behind_the_end_keeps_the_file(order: str) -> None:
    """As cameras of Leica write it; its place is none of an image's."""
    blank = jpeg([(0xE1, exif_with_note(order, b""))])
    segment = bytearray(exif_with_note(order, b"", len(blank) + 20))
    segment[6 + 26 + 6 : 6 + 26 + 10] = struct.pack(order + "I", 40)  # the note's length
    source = jpeg([(0xE1, bytes(segment))], bytes(32) + b"LEICA\0\0\0".ljust(40, b"x"))
    assert "points behind the end" in why_kept(source)


def test_metadata_between_scans_keeps_the_file() -> None:
    source = encoded(GREY.resize((64, 64)), "JPEG", progressive=True)
    scan = source.index(b"\xff\xda", source.index(b"\xff\xda") + 2)
    assert "between scans" in why_kept(source[:scan] + b"\xff\xfe\0\4hi" + source[scan:])


def test_fill_bytes_between_segments_are_no_obstacle() -> None:
    source = jpeg([JFIF, (0xFE, b"hello")])
    at = source.index(b"\xff\xfe")
    assert segments(restored(source[:at] + b"\xff\xff\xff" + source[at:])) == [JFIF, (0xFE, b"hello")]
