"""The image reader: from bytes to a picture, a kept original or a rejection."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.images.image_reader import read, read_rgb
from pipeline.images.reading import Reading, Rejected
from pipeline.images.window import Window
from tests.conftest import photo_like


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture_of(source: bytes) -> Reading:
    reading = read(source)
    assert isinstance(reading, Reading), reading
    assert reading.picture is not None, reading.keep
    return reading


def kept(source: bytes) -> str:
    reading = read(source)
    assert isinstance(reading, Reading), reading
    assert reading.picture is None
    assert reading.keep
    return reading.keep


RGB = Image.fromarray(photo_like(40, 60))
GREY = Image.fromarray(photo_like(40, 60, 1)[:, :, 0])


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG built by hand, for kinds that Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_rgb_comes_out_as_its_own_pixels() -> None:
    reading = picture_of(encoded(RGB, "PNG"))
    assert (reading.source_format, reading.width, reading.height) == ("png", 60, 40)
    assert reading.picture is not None
    np.testing.assert_array_equal(reading.picture.pixels, np.asarray(RGB))
    assert reading.picture.alpha is None


def test_grey_stays_one_channel() -> None:
    picture = picture_of(encoded(GREY, "JPEG")).picture
    assert picture is not None
    assert picture.pixels.shape == (40, 60, 1)


def test_a_palette_is_replaced_by_its_colours() -> None:
    palette = RGB.quantize(17)
    picture = picture_of(encoded(palette, "PNG")).picture
    assert picture is not None
    np.testing.assert_array_equal(picture.pixels, np.asarray(palette.convert("RGB")))


def test_a_transparent_palette_entry_becomes_alpha() -> None:
    palette = RGB.quantize(17)
    picture = picture_of(encoded(palette, "PNG", transparency=3)).picture
    assert picture is not None
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha == 0, np.asarray(palette) == 3)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_split_off_unchanged(mode: str) -> None:
    image = (GREY if mode == "LA" else RGB).convert(mode)
    image.putalpha(Image.fromarray(photo_like(40, 60, 1, seed=7)[:, :, 0]))
    picture = picture_of(encoded(image, "PNG")).picture
    assert picture is not None
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, np.asarray(image)[:, :, -1])
    assert picture.pixels.shape[2] == len(mode) - 1


def test_alpha_that_is_opaque_everywhere_is_kept_so_that_rgba_comes_back_as_rgba() -> None:
    picture = picture_of(encoded(RGB.convert("RGBA"), "PNG")).picture
    assert picture is not None
    assert picture.alpha is not None
    assert picture.alpha.min() == 255


def test_the_one_colour_that_means_transparent_becomes_alpha() -> None:
    picture = picture_of(encoded(Image.new("RGB", (4, 4), (1, 2, 3)), "PNG", transparency=(1, 2, 3))).picture
    assert picture is not None
    assert picture.alpha is not None
    assert picture.alpha.max() == 0


def test_exif_orientation_is_carried_and_not_applied() -> None:
    exif = Image.Exif()
    exif[274] = 6
    picture = picture_of(encoded(RGB, "JPEG", exif=exif)).picture
    assert picture is not None
    assert (picture.width, picture.height) == (60, 40)
    back = Image.Exif()
    back.load(picture.exif)
    assert back[274] == 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_comes_out_as_it_is_stored_with_its_facts_and_its_orientation(orientation: int) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = orientation, "a camera"
    reading = picture_of(encoded(RGB, "TIFF", exif=exif))
    assert (reading.width, reading.height) == (60, 40)
    assert reading.picture is not None
    np.testing.assert_array_equal(reading.picture.pixels, np.asarray(RGB))
    back = Image.Exif()
    back.load(reading.picture.exif)
    assert dict(back) == {271: "a camera", 274: orientation}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["coded", "CMYK", "16 bits"])
def test_size_and_rgb_of_a_tiff_are_as_it_is_stored_also_where_it_is_kept(kind: str, orientation: int) -> None:
    """Pillow turns a TIFF as it loads it, and gives the upright picture's size before."""
    deep = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 256)
    image = {"coded": RGB, "CMYK": RGB.convert("CMYK"), "16 bits": deep}[kind]
    source = encoded(image, "TIFF", tiffinfo={274: orientation})
    reading = read(source)
    assert isinstance(reading, Reading) and (reading.width, reading.height) == (60, 40)
    expected = np.asarray((GREY if kind == "16 bits" else image).convert("RGB"))
    np.testing.assert_array_equal(read_rgb(source), expected)
    window = Window(most_pixels=32 * 20, least_side=20, x=1.0, y=1.0)
    left, top, right, bottom = window.box(60, 40)
    np.testing.assert_array_equal(read_rgb(source, window=window), expected[top:bottom, left:right])


def test_icc_profile_and_xmp_are_carried() -> None:
    picture = picture_of(encoded(RGB, "JPEG", icc_profile=b"p" * 200, xmp=b"<x/>")).picture
    assert picture is not None
    assert (picture.icc, picture.xmp) == (b"p" * 200, b"<x/>")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (encoded(RGB.convert("CMYK"), "JPEG"), "mode CMYK"),
        (encoded(Image.fromarray(np.zeros((4, 4), np.uint16)), "PNG"), "more than 8 bits"),
        (encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "more than 8 bits"),
        (png(2, 1, 16, 2, b"\0" + bytes(12)), "more than 8 bits"),
        (b"P6 1 1 65535\n" + bytes(6), "more than 8 bits"),
        (encoded(RGB, "GIF", save_all=True, append_images=[GREY.convert("RGB")]), "several frames"),
        (encoded(RGB, "TIFF", save_all=True, append_images=[GREY]), "several frames"),
        (encoded(RGB, "ICO"), "format ico"),
        (encoded(RGB.convert("YCbCr"), "TIFF"), "mode YCbCr"),
        (encoded(GREY.convert("1"), "PNG"), "fewer than 8 bits"),
        (encoded(GREY.convert("1"), "TIFF"), "fewer than 8 bits"),
        (encoded(RGB, "TGA"), "format tga"),
    ],
    ids=[
        "cmyk",
        "16-bit grey",
        "float",
        "16-bit rgb png",
        "16-bit ppm",
        "animated",
        "two pages",
        "icon",
        "ycbcr",
        "1-bit png",
        "1-bit tiff",
        "targa",
    ],
)
def test_an_image_that_the_codec_does_not_support_is_kept_with_a_reason(source: bytes, why: str) -> None:
    assert why in kept(source)


def test_a_file_whose_header_claims_too_many_pixels_is_kept_without_decoding() -> None:
    reading = read(png(60_000, 60_000, 8, 2, b""))
    assert isinstance(reading, Reading)
    assert (reading.width, reading.height, reading.picture) == (60_000, 60_000, None)
    assert isinstance(small := read(encoded(RGB, "PNG"), max_pixels=60 * 40 - 1), Reading)
    assert small.picture is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_a_file_that_is_cut_short_is_rejected(kind: str) -> None:
    whole = encoded(RGB, kind)
    outcome = read(whole[: len(whole) * 2 // 3])
    assert isinstance(outcome, Rejected)
    assert (outcome.stage, "\n" in outcome.reason) == ("read", False)


@pytest.mark.parametrize("source", [b"", b"hello", b"\xff\xd8\xff", bytes(1000), b"%!PS-Adobe-3.0\n"])
def test_a_file_that_is_not_an_image_is_rejected(source: bytes) -> None:
    outcome = read(source)
    assert isinstance(outcome, Rejected)
    assert outcome.reason


def test_pillows_own_pixel_limit_is_back_after_each_file_sound_or_not() -> None:
    before = Image.MAX_IMAGE_PIXELS
    for source in (encoded(RGB, "PNG"), b"hello", png(60_000, 60_000, 8, 2, b"")):
        read(source)
        read_rgb(source)
        assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK"])
def test_as_rgb_a_file_has_the_pixels_that_pillow_converts_it_to(mode: str) -> None:
    source = encoded(RGB.convert(mode), "TIFF")
    pixels = read_rgb(source)
    assert not isinstance(pixels, Rejected)
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(source)).convert("RGB")))


def netpbm_of_16_bits(grey: NDArray[np.uint8]) -> bytes:
    return b"P5 %d %d 65535\n" % grey.shape[::-1] + (grey.astype(">u2") * 257).tobytes()


def tiff_of_12_bits(grey: NDArray[np.uint8]) -> bytes:
    pairs = (grey.astype(np.uint32) * 16 + 9).reshape(-1, 2)
    data = (pairs[:, 0] << 12 | pairs[:, 1]).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    height, width = grey.shape
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "12 bits", "big-endian", "32 bits", "float"])
def test_as_rgb_a_deeper_grey_file_looks_as_its_8_bit_one_does(kind: str) -> None:
    """Pillow's own conversion cuts samples off at 255: a picture of 16 bits was white, one from 0 to 1 black."""
    grey = np.arange(40 * 64, dtype=np.int64).reshape(40, 64).astype(np.uint8)  # from 0 to 255
    deep = Image.fromarray(grey.astype(np.uint16) * 256 + 200)
    source = {
        "PNG": lambda: encoded(deep, "PNG"),
        "TIFF": lambda: encoded(deep, "TIFF"),
        "PPM": lambda: netpbm_of_16_bits(grey),
        "12 bits": lambda: tiff_of_12_bits(grey),
        "big-endian": lambda: encoded(deep.convert("I").convert("I;16B"), "TIFF"),
        "32 bits": lambda: encoded(Image.fromarray(grey.astype(np.int32) * 1000 - 5000), "TIFF"),
        "float": lambda: encoded(Image.fromarray(grey.astype(np.float32) / 255), "TIFF"),
    }[kind]()
    np.testing.assert_array_equal(read_rgb(source), grey[:, :, None].repeat(3, 2))
    window = Window(most_pixels=32 * 20, least_side=20, x=1.0, y=1.0)
    left, top, right, bottom = window.box(64, 40)
    np.testing.assert_array_equal(read_rgb(source, window=window), grey[top:bottom, left:right, None].repeat(3, 2))


def test_as_rgb_a_float_file_without_a_range_is_one_grey_and_what_is_no_number_is_in_it() -> None:
    for levels in (np.full((4, 5), np.nan, np.float32), np.full((4, 5), 3e38, np.float32)):
        pixels = read_rgb(encoded(Image.fromarray(levels), "TIFF"))
        assert not isinstance(pixels, Rejected) and np.ptp(pixels) == 0
    wide = np.array([[-3e38, np.nan, np.inf, 3e38]], np.float32)
    pixels = read_rgb(encoded(Image.fromarray(wide), "TIFF"))
    assert not isinstance(pixels, Rejected) and pixels[0, :, 0].tolist() == [0, 0, 255, 255]


def test_other_formats_too_many_pixels_and_damage_give_no_rgb() -> None:
    whole = encoded(RGB, "PNG")
    assert read_rgb(encoded(RGB, "ICO")) == Rejected("read", "format ico")
    assert read_rgb(whole, max_pixels=60 * 40 - 1) == Rejected("read", "too many pixels")
    assert isinstance(read_rgb(whole[:900]), Rejected)


def test_every_awkward_file_ends_as_a_picture_an_original_or_a_rejection(shared_data: Path) -> None:
    outcomes = [read(file.read_bytes()) for file in sorted((shared_data / "awkward").rglob("*")) if file.is_file()]
    rejected = sum(isinstance(outcome, Rejected) for outcome in outcomes)
    pictures = sum(isinstance(outcome, Reading) and outcome.picture is not None for outcome in outcomes)
    assert len(outcomes) > 250
    assert pictures > 150
    assert 50 < rejected < 100
