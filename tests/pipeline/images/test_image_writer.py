"""Pictures are written as files, complete with their metadata."""

import numpy as np
import pytest
from PIL import ImageCms

from model.core.picture import Picture
from pipeline.images.image_reader import read
from pipeline.images.image_writer import Format, format_for, format_of, write_picture
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
