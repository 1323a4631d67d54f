"""A WebP comes back with every chunk and with what is behind its end; or it is kept."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.containers.contents import Unexpected
from pipeline.containers.webp import read
from tests.pipeline.containers.files import RGB, encoded, restored, rgba, riff, riff_chunks

EXIF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
PIXELS = riff_chunks(encoded(RGB, "WEBP", lossless=True))[-1]
CANVAS = (39).to_bytes(3, "little") + (23).to_bytes(3, "little")


def extended(flags: int, *others: tuple[bytes, bytes], behind: bytes = b"") -> bytes:
    before = [chunk for chunk in others if chunk[0] == b"ICCP"]
    after = [chunk for chunk in others if chunk[0] != b"ICCP"]
    return riff([(b"VP8X", bytes([flags, 0, 0, 0]) + CANVAS), *before, PIXELS, *after], behind)


@pytest.mark.parametrize(
    ("flags", "others"),
    [
        (0x20, [(b"ICCP", b"p" * 201)]),
        (0x08, [(b"EXIF", EXIF)]),
        (0x04, [(b"XMP ", b"<x/>")]),
        (0x2C, [(b"ICCP", b"p" * 200), (b"EXIF", b"Exif\0\0" + EXIF), (b"XMP ", b"<xx/>")]),
        (0x00, [(b"C2PA", b"manifest"), (b"abcd", b"odd")]),
    ],
    ids=["icc", "exif", "xmp", "all", "unknown"],
)
def test_chunks_come_back_in_order(flags: int, others: list[tuple[bytes, bytes]]) -> None:
    source = extended(flags, *others)
    back = restored(source)
    assert [c for c in riff_chunks(back) if c[0] not in (b"VP8L", b"VP8X")] == others
    assert dict(riff_chunks(back))[b"VP8X"] == bytes([flags, 0, 0, 0]) + CANVAS
    assert np.array_equal(rgba(back), rgba(source))


def test_a_file_without_other_chunks_stays_a_simple_one() -> None:
    assert [kind for kind, _ in riff_chunks(restored(riff([PIXELS])))] == [b"VP8L"]


def test_bytes_behind_the_end_come_back() -> None:
    assert restored(extended(0, behind=b"PK an archive")).endswith(b"PK an archive")


def test_an_opaque_alpha_plane_comes_back() -> None:
    lossy = riff_chunks(encoded(RGB, "WEBP", quality=90))[-1]
    source = riff([(b"VP8X", b"\x10\0\0\0" + CANVAS), (b"ALPH", b"\0" + b"\xff" * 960), lossy])
    back = restored(source)
    assert Image.open(io.BytesIO(back)).mode == Image.open(io.BytesIO(source)).mode == "RGBA"
    assert np.array_equal(rgba(back), rgba(source)) and dict(riff_chunks(back))[b"VP8X"][0] == 0x10


@pytest.mark.parametrize("kind", ["lossless", "lossy"])
def test_alpha_comes_back(kind: str) -> None:
    clear = RGB.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    source = encoded(clear, "WEBP", lossless=kind == "lossless", exact=True)
    assert np.array_equal(rgba(restored(source)), rgba(source))


def test_a_canvas_of_another_size_is_not_carried() -> None:
    wrong = riff([(b"VP8X", bytes(4) + (79).to_bytes(3, "little") + CANVAS[3:]), PIXELS])
    with pytest.raises(Unexpected, match="smaller than its canvas"):
        read(wrong)


@pytest.mark.parametrize("side", [7, 9])
def test_a_size_to_be_shown_at_is_not_carried(side: int) -> None:
    kind, data = riff_chunks(encoded(RGB, "WEBP", quality=90))[-1]
    larger = data[:side] + bytes([data[side] | 0x40]) + data[side + 1 :]  # the two bits above a side in a VP8 frame
    read(riff([(kind, data)]))
    with pytest.raises(Unexpected, match="size to be shown at"):
        read(riff([(kind, larger)]))
