"""JPEG XL as a source: one plain picture of 8 bits in sRGB is coded, everything else is kept."""

from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.images.image_reader import read
from pipeline.images.image_writer import write_picture
from pipeline.images.reading import Reading
from tests.conftest import photo_like
from tests.pipeline.containers import files
from tests.pipeline.making import image_file


def pixels(bands: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    made = photo_like(height, width, 4, seed=1)[:, :, :bands]
    return made[:, :, 0] if bands == 1 else made


def encoded(array: NDArray[Any], **options: Any) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(array, numthreads=1, **options))


def reading_of(source: bytes) -> Reading:
    found = read(source)
    assert isinstance(found, Reading)
    return found


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((48, 64), {"lossless": True}),
        ((48, 64), {"level": 80, "effort": 9}),
        ((300, 270), {"lossless": True, "effort": 1}),
        ((300, 270), {"level": 50}),
        ((300, 270), {"level": 90, "usecontainer": True}),
    ],
)
def test_a_plain_picture_is_coded(bands: int, size: tuple[int, int], options: dict[str, Any]) -> None:
    array = pixels(bands, *size)
    reading = reading_of(encoded(array, **options))
    picture = reading.picture
    assert picture is not None, reading.keep
    assert (reading.source_format, reading.height, reading.width) == ("jxl", *size)
    assert (picture.pixels.shape[2], picture.alpha is not None) == (3 if bands > 2 else 1, bands in (2, 4))
    if "lossless" in options:
        planes = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
        assert np.array_equal(planes.squeeze(), array)


def _box(kind: bytes, data: bytes) -> bytes:
    return (len(data) + 8).to_bytes(4, "big") + kind + data


CODED = encoded(pixels(3), lossless=True)
HEAD = _box(b"JXL ", b"\r\n\x87\n") + _box(b"ftyp", b"jxl \0\0\0\0jxl ")
EXIF = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x01\0\0\0\0\0\0\0"
WHOLE = HEAD + _box(b"Exif", bytes(4) + EXIF) + _box(b"xml ", b"<x/>") + _box(b"jxlc", CODED)


def test_exif_and_xmp_come_back() -> None:
    picture = reading_of(WHOLE).picture
    assert picture is not None and (picture.exif, picture.xmp) == (b"Exif\0\0" + EXIF, b"<x/>")
    chunks = dict(files.chunks(write_picture(picture, "png")))
    assert chunks[b"eXIf"] == EXIF and chunks[b"iTXt"].endswith(b"<x/>")
    parts = [_box(b"jxlp", bytes(4) + CODED[:30]), _box(b"jxlp", b"\x80\0\0\1" + CODED[30:])]
    assert reading_of(HEAD + b"".join(parts)).picture is not None


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (CODED + b"film", "container: bytes behind the end"),
        (CODED + CODED, "container: bytes behind the end"),
        (WHOLE + _box(b"jumb", b"a claim"), "container: an unknown box"),
        (WHOLE.replace(EXIF, EXIF[:18] + b"\x06" + EXIF[19:]), "container: EXIF that cannot be read"),
        (encoded(pixels(3).astype(np.uint16) * 257, lossless=True), "more than 8 bits a channel"),
        (encoded(np.stack([pixels(3)] * 2), lossless=True), "several frames or pages"),
        (imagecodecs.jpegxl_encode_jpeg(image_file("JPEG")), "a JPEG in JPEG XL"),
        (encoded(pixels(3, 2100, 80), level=50), "container: sections in another order"),
    ],
)
def test_what_cannot_be_carried_keeps_the_file(source: bytes, reason: str) -> None:
    assert reading_of(source).keep == reason


def test_no_changed_byte_of_a_header_gives_a_picture_of_another_kind() -> None:
    for at in range(2, 24):
        for change in (1, 8, 0x80, 0xFF):
            found = read(CODED[:at] + bytes([CODED[at] ^ change]) + CODED[at + 1 :])
            if isinstance(found, Reading) and found.picture is not None:
                assert (found.picture.height, found.picture.width) == (found.height, found.width)
