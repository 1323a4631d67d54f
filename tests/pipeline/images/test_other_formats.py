"""A picture is written in each standard format with its metadata, and what has no place is named."""

import io
import struct
from fractions import Fraction
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from model.core.picture import Picture
from pipeline.images.image_writer import AGAIN, FORMATS, LOSSY, Format, write_as, write_picture
from tests.conftest import photo_like
from tests.pipeline.containers.files import behind_iend, chunks, encoded, jpeg, picture_of, png, segments
from tests.pipeline.images.test_image_writer import ICC, XMP, exif

IPTC = b"8BIM\x04\x04\0\0\0\0\0\x0a\x1c\x02\x78\0\x05Kite "
EXTERNAL = b"http://ns.adobe.com/xap/1.0/\0"


def pixels_of(data: bytes) -> np.ndarray:
    """As stored; Pillow turns those of a TIFF."""
    if b"JXL " in data[:12]:
        return np.asarray(imagecodecs.jpegxl_decode(data, keeporientation=True))
    return imagecodecs.tiff_decode(data) if data.startswith(b"II*") else np.asarray(Image.open(io.BytesIO(data)))


def info_of(data: bytes) -> dict[str, Any]:
    """Metadata by Pillow; of a JPEG XL, of the JPEG that it holds."""
    held = bytes(imagecodecs.jpegxl_decode_jpeg(data, numthreads=1)) if b"JXL " in data[:12] else data
    with Image.open(io.BytesIO(held)) as image:
        facts: dict[str, Any] = {"format": image.format, "orientation": image.getexif().get(274), "image": image}
        return facts | {str(name): value for name, value in image.info.items()}


@pytest.mark.parametrize("wanted", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_format_holds_the_pixels_and_the_profile_exif_and_xmp(wanted: Format, channels: int) -> None:
    picture = Picture(photo_like(48, 64, channels), icc=ICC, exif=exif(), xmp=XMP)
    written = write_as(picture, wanted)
    assert (written.form, written.instead, written.lost) == (wanted, "", (AGAIN,) if wanted in LOSSY else ())
    info, found = info_of(written.data), pixels_of(written.data)
    if channels == 1 and found.ndim == 3:  # WebP and AVIF by Pillow have no grey
        found = found[:, :, 0]
    difference = np.abs(found.reshape(picture.pixels.shape).astype(int) - picture.pixels)
    assert difference.max() == 0 if wanted not in LOSSY else difference.mean() < 2.5
    assert info["orientation"] == 6 and info["icc_profile"] == ICC
    xmp = info["image"].tag_v2[700] if wanted == "tiff" else info.get("xmp")
    xmp = xmp or str(info["XML:com.adobe.xmp"]).encode()
    assert xmp == XMP


@pytest.mark.parametrize("wanted", sorted(LOSSY))
def test_alpha_is_never_dropped_but_written_as_png(wanted: Format) -> None:
    picture = Picture(photo_like(20, 30), photo_like(20, 30, 1)[:, :, 0])
    written = write_as(picture, wanted)
    assert (written.form, written.instead, written.lost) == ("png", "alpha", ())
    assert picture.alpha is not None and np.array_equal(pixels_of(written.data)[:, :, 3], picture.alpha)


def test_colours_that_only_a_tag_of_png_describes_stay_in_a_png() -> None:
    display_p3 = picture_of(png([(b"cICP", bytes([12, 13, 0, 1]))]))
    srgb = picture_of(png([(b"cICP", bytes([1, 13, 0, 1])), (b"gAMA", struct.pack(">I", 45455))]))
    for wanted in ("jpeg", "avif", "webp", "tiff", "jxl"):
        written = write_as(display_p3, wanted)
        assert (written.form, written.instead, written.lost) == ("png", "colour tag", ())
        assert (b"cICP", bytes([12, 13, 0, 1])) in chunks(written.data)
        assert write_as(srgb, wanted).form == wanted


def test_what_a_jpeg_holds_finds_its_place_in_other_formats() -> None:
    jfif = b"JFIF\0\x01\x02\x01" + struct.pack(">HH", 300, 200) + b"\0\0"
    source = jpeg([(0xE0, jfif), (0xED, b"Photoshop 3.0\0" + IPTC), (0xFE, b"a comment"), (0xE4, b"odd")], b"a film")
    picture = picture_of(source)
    written = {wanted: write_as(picture, wanted) for wanted in FORMATS}
    unplaced = ("segment APP4", "bytes behind the end")
    assert written["jpeg"].lost == written["jxl"].lost == (AGAIN,)
    assert written["png"].lost == unplaced
    assert written["tiff"].lost == (*unplaced, "comments and texts")
    assert written["webp"].lost == (*unplaced, "IPTC captions", "comments and texts")
    assert written["avif"].lost == (*unplaced, "IPTC captions", "comments and texts", AGAIN)
    found = dict(chunks(written["png"].data))
    assert found[b"pHYs"] == struct.pack(">IIB", 11811, 7874, 1) and found[b"tEXt"] == b"Comment\0a comment"
    assert b"Raw profile type 8bim" in found[b"zTXt"]
    tiff = info_of(written["tiff"].data)["image"].tag_v2
    assert (tiff[282], tiff[283], tiff[296], tiff[34377], tiff[33723]) == (300, 200, 2, IPTC, IPTC[12:])
    for wanted in ("webp", "avif"):
        tags = Image.open(io.BytesIO(written[wanted].data)).getexif()
        assert (tags[282], tags[283], tags[296]) == (Fraction(300), Fraction(200), 2)
    restored = bytes(imagecodecs.jpegxl_decode_jpeg(written["jxl"].data, numthreads=1))
    assert restored == written["jpeg"].data and restored.endswith(b"a film")


def test_what_a_png_and_a_tiff_hold_finds_its_place_in_a_jpeg() -> None:
    chunked = png([(b"pHYs", struct.pack(">IIB", 11811, 11811, 1)), (b"tEXt", b"Author\0Ada"), (b"tIME", bytes(7))])
    written = write_as(picture_of(chunked), "jpeg")
    assert written.lost == ("chunk tIME", AGAIN)
    assert (0xFE, b"Author: Ada") in segments(written.data)
    (jfif,) = (data for marker, data in segments(written.data) if marker == 0xE0)
    assert jfif[7:12] == struct.pack(">BHH", 2, 118, 118)
    tiff = encoded(Image.fromarray(photo_like(24, 40)), "TIFF", dpi=(150, 150), tiffinfo={33723: IPTC[12:]})
    written = write_as(picture_of(tiff), "jpeg")
    assert written.lost == (AGAIN,)
    assert (0xED, b"Photoshop 3.0\0" + IPTC) in segments(written.data)
    (jfif,) = (data for marker, data in segments(written.data) if marker == 0xE0)
    assert jfif[7:12] == struct.pack(">BHH", 1, 150, 150)


def test_metadata_that_a_format_cannot_hold_makes_the_file_a_png() -> None:
    picture = Picture(photo_like(20, 30), xmp=XMP + b" " * 70_000)
    written = write_as(picture, "jpeg")
    assert (written.form, written.instead) == ("png", "metadata")
    assert b" " * 70_000 in written.data and behind_iend(written.data) == b""


def test_a_file_in_its_sources_format_loses_nothing_but_exactness() -> None:
    picture = picture_of(jpeg([(0xFE, b"one"), (0xE4, b"odd")], b"behind"))
    written = write_as(picture, "jpeg")
    assert written.data == write_picture(picture, "jpeg") and written.lost == (AGAIN,)
