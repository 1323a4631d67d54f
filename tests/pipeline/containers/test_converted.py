"""What BMP, GIF, AVIF and JPEG 2000 hold comes back in a PNG; or the file is kept."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from pipeline.images.image_reader import read
from pipeline.images.reading import Rejected
from tests.pipeline.containers.files import GREY, RGB, chunks, encoded, picture_of, restored, rgba, why_kept

EXIF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


def same_pixels(source: bytes) -> dict[bytes, bytes]:
    """The chunks of the restored PNG; its pixels are the source's."""
    back = restored(source)
    assert np.array_equal(rgba(back), rgba(source))
    return dict(chunks(back))


# BMP


def bmp(
    density: int = 0, tail: bytes = b"", space: bytes = b"BGRs", profile: bytes = b"", fourth: int | None = None
) -> bytes:
    """A BMP with a V5 header; 32 bits per pixel with an unused byte if `fourth` is given."""
    rows = np.asarray(RGB)[::-1, :, ::-1]
    if fourth is not None:
        unused = np.full((24, 40, 1), fourth, np.uint8)
        unused[0, 0] = 0 if fourth == 77 else fourth
        rows = np.concatenate([rows, unused], axis=2)
    pixels = rows.tobytes()
    start = 14 + 124
    info = struct.pack("<IiiHHIIiiII", 124, 40, 24, 1, 8 * rows.shape[2], 0, len(pixels), density, density, 0, 0)
    info += (
        bytes(16) + space + bytes(48) + struct.pack("<IIII", 4, 124 + len(pixels) if profile else 0, len(profile), 0)
    )
    size = start + len(pixels) + len(profile)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, start) + info + pixels + profile + tail


def test_density_of_a_bmp_comes_back() -> None:
    assert same_pixels(bmp(density=23622))[b"pHYs"] == struct.pack(">IIB", 23622, 23622, 1)
    assert b"pHYs" not in same_pixels(bmp())


def test_colours_of_a_bmp_come_back() -> None:
    assert same_pixels(bmp())[b"sRGB"] == b"\0"
    assert same_pixels(bmp(space=b"DEBM", profile=b"p" * 200))[b"iCCP"].endswith(b"\0" + b"p" * 200)
    assert "colours" in why_kept(bmp(space=b"KNIL"))


def test_a_bmp_with_more_than_its_pixels_is_kept() -> None:
    assert "behind the end" in why_kept(bmp(tail=b"PK an archive"))
    assert why_kept(bmp(fourth=77)) == "extra bands"
    assert same_pixels(bmp(fourth=255)) and same_pixels(bmp(fourth=0))
    assert same_pixels(encoded(RGB.quantize(30), "BMP")).keys() == {b"pHYs"}
    assert "before the pixels" in why_kept(with_gap(bmp(), b"words in between"))
    assert "before the pixels" in why_kept(with_gap(encoded(RGB.quantize(30), "BMP"), b"words in between"))
    assert same_pixels(with_gap(bmp(), bytes(4096 - 138)))


def with_gap(source: bytes, gap: bytes) -> bytes:
    """A BMP with bytes between its header and its pixels."""
    (at,) = struct.unpack_from("<I", source, 10)
    return source[:10] + struct.pack("<I", at + len(gap)) + source[14:at] + gap + source[at:]


@pytest.mark.parametrize("bits", [1, 16])
def test_a_bmp_of_few_bits_is_kept(bits: int) -> None:
    source = encoded(GREY.convert("1"), "BMP") if bits == 1 else rgb555()
    assert why_kept(source) == "fewer than 8 bits a channel"


def rgb555() -> bytes:
    pixels = np.arange(24 * 40, dtype="<u2").tobytes()
    info = struct.pack("<IiiHHIIiiII", 40, 40, 24, 1, 16, 0, len(pixels), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + info + pixels


# GIF


def with_extension(label: int, data: bytes, source: bytes | None = None) -> bytes:
    """A GIF with an extension in front of its image."""
    gif = source or encoded(RGB.quantize(64), "GIF")
    blocks = b"".join(bytes([len(part)]) + part for part in (data[i : i + 255] for i in range(0, len(data), 255)))
    palette = 13 + (3 << (gif[10] & 7) + 1)
    return b"GIF89a" + gif[6:palette] + b"!" + bytes([label]) + blocks + b"\0" + gif[palette:]


def test_a_plain_gif_comes_back() -> None:
    assert same_pixels(encoded(RGB.quantize(64), "GIF")) == {}
    assert same_pixels(encoded(GREY, "GIF")) == {}
    same_pixels(encoded(RGB.quantize(64), "GIF", transparency=5))


def test_a_comment_of_a_gif_comes_back() -> None:
    assert same_pixels(with_extension(0xFE, b"made by hand " * 30))[b"tEXt"] == b"Comment\0" + b"made by hand " * 30


def test_xmp_and_icc_of_a_gif_come_back() -> None:
    trailer = b"\1" + bytes(range(255, -1, -1)) + b"\0"
    gif = encoded(RGB.quantize(64), "GIF")
    palette = 13 + (3 << (gif[10] & 7) + 1)
    xmp = gif[:palette] + b"!\xff\x0bXMP DataXMP<x:xmpmeta/>" + trailer + gif[palette:]
    assert same_pixels(xmp)[b"iTXt"].endswith(b"\0<x:xmpmeta/>")
    icc = gif[:palette] + b"!\xff\x0bICCRGBG1012\xc8" + b"p" * 200 + b"\0" + gif[palette:]
    assert same_pixels(icc)[b"iCCP"].endswith(b"\0" + b"p" * 200)


@pytest.mark.parametrize(
    "source",
    [
        encoded(RGB.quantize(64), "GIF", loop=0),
        encoded(RGB.quantize(64), "GIF", duration=500),
        with_extension(0x01, bytes(12)),
        with_extension(0xFF, b"UNKNOWN 1.0more"),
        encoded(RGB.quantize(64), "GIF") + b"PK an archive",
    ],
    ids=["loop", "duration", "plain text", "application", "behind"],
)
def test_a_gif_with_more_than_that_is_kept(source: bytes) -> None:
    assert why_kept(source)


# AVIF


def test_colour_tags_of_an_avif_come_back() -> None:
    source = encoded(RGB, "AVIF", quality=90)
    assert b"nclx" in source
    at = source.index(b"nclx") + 4
    p3 = source[:at] + struct.pack(">HH", 12, 16) + source[at + 4 :]
    assert dict(chunks(restored(p3)))[b"cICP"] == bytes([12, 16, 0, 1])


def test_metadata_of_an_avif_comes_back() -> None:
    exif = Image.Exif()
    exif[271] = "a camera"
    source = encoded(RGB, "AVIF", icc_profile=b"p" * 200, exif=exif, xmp=b"<x/>")
    found = same_pixels(source)
    assert found[b"iCCP"].endswith(b"\0" + b"p" * 200) and found[b"iTXt"].endswith(b"\0<x/>")
    assert found[b"eXIf"] == exif.tobytes().removeprefix(b"Exif\0\0") and b"cICP" not in found


def test_an_avif_whose_colour_tag_says_other_than_its_profile_is_kept() -> None:
    source = encoded(RGB, "AVIF", icc_profile=b"p" * 200)
    at = source.index(b"nclx") + 4
    assert dict(chunks(restored(source)))[b"iCCP"]
    assert "colours" in why_kept(source[:at] + struct.pack(">HH", 9, 16) + source[at + 4 :])


def test_alpha_of_an_avif_comes_back() -> None:
    clear = RGB.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    same_pixels(encoded(clear, "AVIF"))


def test_a_rotated_avif_is_kept() -> None:
    """Its rotation is a property of its own, which a PNG does not have."""
    exif = Image.Exif()
    exif[274] = 6
    source = encoded(RGB, "AVIF", exif=exif)
    assert b"irot" in source
    assert "property" in why_kept(source)


def test_an_avif_whose_exif_the_decoder_changes_is_kept() -> None:
    """It resets an orientation that is in EXIF alone, and leaves a thumbnail out as it does."""
    other = EXIF.replace(b"\1\x12", b"\1\x13")  # Pillow's encoder makes a rotation of an orientation
    source = encoded(RGB, "AVIF", exif=other)
    assert same_pixels(source)[b"eXIf"] == other
    turned = source.replace(other, EXIF)
    assert turned != source and b"irot" not in turned
    assert "EXIF" in why_kept(turned)


def test_an_avif_with_an_unknown_box_or_bytes_behind_it_is_kept() -> None:
    source = encoded(RGB, "AVIF")
    assert "unknown box" in why_kept(source + struct.pack(">I4s", 20, b"uuid") + bytes(12))
    assert why_kept(source + b"tail")


# JPEG 2000


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data) + 8, kind) + data


def with_boxes(header: bytes = b"", top: bytes = b"", source: bytes | None = None) -> bytes:
    """A JP2 file with more boxes in its header, or before its codestream."""
    jp2 = source or encoded(RGB, "JPEG2000")
    at = jp2.index(b"jp2h") - 4
    (size,) = struct.unpack_from(">I", jp2, at)
    head = jp2[:at] + box(b"jp2h", jp2[at + 8 : at + size] + header)
    return head + top + jp2[at + size :]


def test_density_of_a_jpeg_2000_comes_back() -> None:
    resolution = box(b"res ", box(b"resc", struct.pack(">HHHHbb", 11811, 1, 11811, 1, 0, 0)))
    assert same_pixels(with_boxes(resolution))[b"pHYs"] == struct.pack(">IIB", 11811, 11811, 1)
    odd = box(b"res ", box(b"resc", struct.pack(">HHHHbb", 11811, 7, 11811, 7, 0, 0)))
    assert "resolution" in why_kept(with_boxes(odd))


def test_xmp_exif_and_comments_of_a_jpeg_2000_come_back() -> None:
    xmp = box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + b"<x/>")
    exif = box(b"uuid", b"JpgTiffExif->JP2" + EXIF)
    found = same_pixels(with_boxes(top=xmp + exif, source=encoded(RGB, "JPEG2000", comment="a comment")))
    assert found[b"iTXt"].endswith(b"\0<x/>") and found[b"eXIf"] == EXIF
    assert found[b"tEXt"] == b"Comment\0a comment"


def test_a_codestream_alone_comes_back() -> None:
    same_pixels(encoded(GREY, "JPEG2000", no_jp2=True))


def jpeg_2000_with_a_tile_comment() -> bytes:
    stream = encoded(RGB, "JPEG2000", no_jp2=True)
    at = stream.index(b"\xff\x90")
    length = struct.unpack_from(">I", stream, at + 6)[0]
    comment = b"\xff\x64\0\x0a\0\1a tile"
    part = stream[at : at + 6] + struct.pack(">I", length + len(comment)) + stream[at + 10 : at + 12]
    return stream[:at] + part + comment + stream[at + 12 :]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (with_boxes(top=box(b"xml ", b"<x/>")), "unknown box"),
        (with_boxes(top=box(b"uuid", bytes(30))), "unknown box"),
        (encoded(RGB, "JPEG2000") + b"tail", ""),
        (encoded(RGB, "JPEG2000", no_jp2=True) + encoded(RGB, "JPEG"), "behind the end"),
        (jpeg_2000_with_a_tile_comment(), "a comment in a tile"),
    ],
    ids=["xml", "uuid", "behind", "an image behind", "comment of a tile"],
)
def test_a_jpeg_2000_with_more_than_that_is_kept(source: bytes, why: str) -> None:
    assert why in why_kept(source)


# Others


def test_netpbm_comes_back_without_comments_and_is_kept_with_them() -> None:
    source = encoded(RGB, "PPM")
    assert same_pixels(source) == {}
    assert "comments" in why_kept(source.replace(b"P6\n", b"P6\n# by hand\n"))
    assert "behind" in why_kept(source + b"P6")


def test_qoi_comes_back_but_for_linear_colours() -> None:
    source = encoded(RGB, "QOI")
    if source[13]:  # Pillow's default differs by version
        source = source[:13] + b"\0" + source[14:]
    assert same_pixels(source) == {}
    assert "colours" in why_kept(source[:13] + b"\1" + source[14:])


@pytest.mark.parametrize("kind", ["TGA", "SGI", "PCX", "DIB"])
def test_formats_whose_contents_nobody_carries_are_kept(kind: str) -> None:
    assert why_kept(encoded(RGB, kind)) == f"format {kind.lower()}"


@pytest.mark.parametrize("make", [bmp, lambda: encoded(RGB.quantize(9), "GIF"), lambda: encoded(RGB, "AVIF")])
def test_every_cut_of_a_file_is_no_picture(make: Callable[[], bytes]) -> None:
    source = make()
    for end in range(len(source) // 2, len(source), max(1, len(source) // 40)):
        outcome = read(source[:end])
        assert isinstance(outcome, Rejected) or outcome.picture is None
    assert picture_of(source)
