"""Pictures are written as files, complete with their metadata."""

import io
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from model.core.picture import Picture
from pipeline.images.image_reader import read
from pipeline.images.image_writer import Format, format_for, format_of, write_as, write_picture
from pipeline.images.reading import Reading
from tests.conftest import photo_like
from tests.pipeline.making import image_file

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">caf\xc3\xa9</x:xmpmeta>'


def exif() -> bytes:
    reading = read(image_file("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"))
    assert isinstance(reading, Reading) and reading.picture is not None and reading.picture.exif
    return reading.picture.exif


def back(data: bytes) -> tuple[str, Picture]:
    reading = read(data)
    assert isinstance(reading, Reading) and reading.picture is not None
    return reading.source_format, reading.picture


@pytest.mark.parametrize("wanted", ["png", "webp", "tiff"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_a_lossless_format_gives_the_same_planes_back(wanted: Format, channels: int, with_alpha: bool) -> None:
    alpha = photo_like(21, 33, 1, seed=5)[:, :, 0] if with_alpha else None
    picture = Picture(photo_like(21, 33, channels), alpha)
    found, again = back(write_picture(picture, wanted))
    assert found == wanted
    expected = picture.pixels if wanted != "webp" else np.broadcast_to(picture.pixels, (21, 33, 3))  # WebP has no grey
    assert np.array_equal(again.pixels, expected)
    assert (again.alpha is None) == (alpha is None)
    if alpha is not None and again.alpha is not None:
        assert np.array_equal(again.alpha, alpha)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_keeps_the_colour_kind_and_nearly_all_of_the_image(channels: int) -> None:
    picture = Picture(photo_like(64, 80, channels))
    found, again = back(write_picture(picture, "jpeg"))
    assert found == "jpeg" and again.pixels.shape == picture.pixels.shape
    assert np.abs(again.pixels.astype(int) - picture.pixels).mean() < 2


@pytest.mark.parametrize("wanted", ["png", "webp", "tiff", "jpeg"])
def test_metadata_comes_back_as_it_was(wanted: Format) -> None:
    picture = Picture(photo_like(16, 16), icc=ICC, exif=exif(), xmp=XMP)
    _, again = back(write_picture(picture, wanted))
    assert again.icc == ICC and again.xmp == XMP
    if wanted != "tiff":  # there EXIF is the file's own directory, and orientation is applied when it is read
        assert again.exif.removeprefix(b"Exif\0\0") == picture.exif.removeprefix(b"Exif\0\0")


def photographs_exif() -> bytes:
    """EXIF as cameras write it: directories below the first one, a thumbnail, and the size of their own picture."""
    tags = Image.Exif()
    tags[ExifTags.Base.ImageWidth], tags[ExifTags.Base.ImageLength], tags[ExifTags.Base.Make] = 4000, 3000, "camera"
    tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"ASCII\0\0\0a walk"
    tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = {1: "R98"}
    tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAltitude] = 61.5
    block = bytearray(tags.tobytes())
    order = {b"MM": ">", b"II": "<"}[bytes(block[6:8])]
    (first,) = struct.unpack_from(order + "I", block, 10)
    (count,) = struct.unpack_from(order + "H", block, 6 + first)
    struct.pack_into(order + "I", block, 6 + first + 2 + 12 * count, len(block) - 6)
    thumbnail = struct.pack(order + "HHHIII", 1, ExifTags.Base.Compression, 3, 1, 6, 0)
    return bytes(block) + thumbnail


@pytest.mark.parametrize("wanted", ["png", "webp", "tiff", "jpeg", "avif"])
def test_directories_of_a_photographs_exif_are_written_in_every_format(wanted: Format) -> None:
    picture = Picture(photo_like(16, 24), icc=ICC, exif=photographs_exif(), xmp=XMP)
    made = write_as(picture, wanted)
    assert (made.form, made.instead) == (wanted, "")
    with Image.open(io.BytesIO(made.data)) as image:
        tags = image.getexif()
        below, places = tags.get_ifd(ExifTags.IFD.Exif), tags.get_ifd(ExifTags.IFD.GPSInfo)
        assert (image.size, tags[ExifTags.Base.Make]) == ((24, 16), "camera")
        assert below[ExifTags.Base.UserComment] == b"ASCII\0\0\0a walk"
        assert places[ExifTags.GPS.GPSAltitude] == 61.5
        if wanted == "tiff":  # Pillow itself reads this directory in its own files alone
            assert image.info["icc_profile"] == ICC and np.array_equal(np.asarray(image), picture.pixels)
    assert b"R98" in made.data
    assert ("thumbnail" in made.lost) == (wanted in ("tiff", "avif"))


def test_what_a_format_cannot_hold_becomes_a_png() -> None:
    plain = Picture(photo_like(4, 4))
    clear = Picture(photo_like(4, 4), np.zeros((4, 4), np.uint8))
    long = Picture(np.zeros((1, 20_000, 1), np.uint8))
    assert [format_for(plain, wanted) for wanted in ("jpeg", "webp", "tiff")] == ["jpeg", "webp", "tiff"]
    assert format_for(clear, "jpeg") == "png" and format_for(clear, "webp") == "webp"
    assert format_for(long, "webp") == "png" and format_for(long, "jpeg") == "jpeg"


def test_colours_under_full_transparency_are_kept() -> None:
    picture = Picture(photo_like(8, 8), np.zeros((8, 8), np.uint8))
    for wanted in ("png", "webp", "tiff"):
        assert np.array_equal(back(write_picture(picture, wanted))[1].pixels, picture.pixels)


def test_a_suffix_names_its_format_in_any_case() -> None:
    names = ["a.png", "b.JPG", "c.jpeg", "d.webp", "e.tif", "f", "g.gif", ".png"]
    assert [format_of(name) for name in names] == ["png", "jpeg", "jpeg", "webp", "tiff", None, None, "png"]
