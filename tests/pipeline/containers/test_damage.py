"""Damaged files: a parser answers with contents or with a reason, and never raises anything else or runs away."""

import contextlib
import random
import time

import pytest
from PIL import Image

from pipeline.containers.contents import Unexpected
from pipeline.containers.read import read_contents
from tests.pipeline.containers.files import RGB, encoded, jpeg, png, riff, riff_chunks
from tests.pipeline.containers.test_converted import bmp
from tests.pipeline.containers.test_jpeg import with_second_image
from tests.pipeline.containers.test_tiff import ASCII, tiff

EXIF = Image.Exif()
EXIF[271] = "a camera"
FILES = {
    "jpeg": with_second_image("<", jpeg([])),
    "png": png([(b"tEXt", b"Author\0Ada"), (b"gAMA", bytes(4))], behind=b"tail"),
    "webp": riff([(b"VP8X", bytes(4) + b"\x27\0\0\x17\0\0"), riff_chunks(encoded(RGB, "WEBP", lossless=True))[-1]]),
    "tiff": tiff((270, ASCII, b"a description\0"), below={34665: [(36864, 7, b"0232")]}),
    "avif": encoded(RGB, "AVIF", exif=EXIF, icc_profile=b"p" * 200),
    "gif": encoded(RGB.quantize(16), "GIF", comment=b"hello"),
    "bmp": bmp(density=3000, space=b"DEBM", profile=b"p" * 99),
    "jpeg2000": encoded(RGB, "JPEG2000", comment="hello"),
    "ppm": encoded(RGB, "PPM"),
    "qoi": encoded(RGB, "QOI"),
}


@pytest.mark.parametrize("form", FILES)
def test_a_damaged_file_has_contents_or_a_reason(form: str) -> None:
    rng, source, refused = random.Random(form), FILES[form], 0
    for _ in range(300):
        data = bytearray(source)
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(min(len(data), 700))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        try:
            read_contents(form, bytes(data), bands=3)
        except Unexpected as e:
            refused += 1
            assert str(e) and "\n" not in str(e)
    assert refused > 50


@pytest.mark.parametrize(
    ("form", "source"),
    [
        ("jpeg", b"\xff\xd8" + b"\xff\xe0\0\2" * 500_000),
        ("png", b"\x89PNG\r\n\x1a\n" + png([(b"tEXt", b"")] * 100_000)[8:]),
        ("tiff", b"II*\0\x08\0\0\0\xff\xff" + bytes(900_000)),
        ("gif", encoded(RGB.quantize(4), "GIF")[:-1] + b"!\xfe\0" * 300_000),
        ("jpeg2000", b"\xff\x4f\xff\x51\0\x29" + bytes(36) + b"\xff\x64\0\2" * 300_000 + b"\xff\xd9"),
    ],
    ids=["segments", "chunks", "tags", "blocks", "markers"],
)
def test_a_file_of_a_million_parts_takes_seconds_at_most(form: str, source: bytes) -> None:
    started = time.process_time()
    with contextlib.suppress(Unexpected):
        read_contents(form, source, bands=3)
    assert time.process_time() - started < 10
