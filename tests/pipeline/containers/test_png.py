"""A PNG comes back with every chunk, in order, and with what is behind its end; or it is kept."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.containers.contents import Unexpected
from pipeline.containers.png.png import read
from tests.pipeline.containers.files import Chunk, behind_iend, chunks, encoded, png, restored, rgba, why_kept

CHRM = struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
EXIF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([(b"pHYs", struct.pack(">IIB", 23622, 23622, 1))], []),
        ([(b"pHYs", struct.pack(">IIB", 4, 3, 0))], []),
        ([(b"cICP", bytes([12, 13, 0, 1]))], []),
        ([(b"gAMA", struct.pack(">I", 45455)), (b"cHRM", CHRM)], []),
        ([(b"sRGB", b"\1"), (b"gAMA", struct.pack(">I", 45455))], []),
        ([(b"tEXt", b"parameters\0a cat, steps: 20"), (b"zTXt", b"Comment\0\0" + zlib.compress(b"long"))], []),
        ([(b"iTXt", b"Title\0\0\0de\0Titel\0K\xc3\xb6ln")], [(b"tEXt", b"Author\0Ada")]),
        ([(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>")], []),
        ([], [(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<x/>"))]),
        ([(b"eXIf", EXIF)], []),
        ([], [(b"eXIf", EXIF), (b"tIME", struct.pack(">HBBBBB", 2021, 5, 4, 3, 2, 1))]),
        ([(b"mDCV", bytes(24)), (b"cLLI", bytes(8)), (b"sBIT", b"\5\6\5"), (b"bKGD", bytes(6))], []),
        ([(b"caBX", b"manifest"), (b"sPLT", b"name\0\x08" + bytes(6)), (b"oFFs", bytes(9)), (b"sTER", b"\1")], []),
        ([(b"prVt", b"private, safe to copy")], [(b"prVt", b"again")]),
    ],
    ids=[
        "density",
        "aspect",
        "cicp",
        "gamma",
        "srgb",
        "text",
        "languages",
        "xmp",
        "compressed xmp",
        "exif",
        "exif and time behind",
        "hdr",
        "others",
        "private",
    ],
)
def test_chunks_come_back_in_order_and_on_their_side_of_the_pixels(before: list[Chunk], after: list[Chunk]) -> None:
    source = png(before, after)
    back = restored(source)
    assert chunks(back) == [*before, *after]
    assert back.index(after[0][1]) > back.index(b"IDAT") if after else back.endswith(b"IEND\xaeB`\x82")
    assert np.array_equal(rgba(back), rgba(source))


def test_a_palette_that_only_suggests_colours_comes_back() -> None:
    before = [(b"PLTE", bytes(range(48))), (b"bKGD", struct.pack(">3H", 1, 2, 3))]
    assert chunks(restored(png(before))) == before
    alpha = b"".join(b"\0" + bytes([1, 2, 3, 4] * 40) for _ in range(24))
    assert chunks(restored(png(before, pixels=alpha, colour=6))) == before
    assert "unknown chunk" in why_kept(png(before[:1], pixels=bytes(24 * 41), colour=0)), "grey has none"


def test_an_icc_profile_comes_back_with_its_name() -> None:
    source = png([(b"iCCP", b"Display P3\0\0" + zlib.compress(b"p" * 600, 1))])
    assert chunks(restored(source)) == [(b"iCCP", b"Display P3\0" + b"p" * 600)]


@pytest.mark.parametrize("behind", [b"PK\3\4 an archive", b"\n", bytes(64)])
def test_bytes_behind_the_end_come_back(behind: bytes) -> None:
    assert behind_iend(restored(png(behind=behind))) == behind


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_of_few_bits_is_kept_with_its_transparency(depth: int) -> None:
    """The transparent value counts before samples are scaled; Pillow compares it with those of 8 bits."""
    rows = b"".join(b"\0" + bytes(5 * depth) for _ in range(24))
    source = png([(b"tRNS", struct.pack(">H", 1))], pixels=rows, depth=depth, colour=0)
    assert why_kept(source) == "fewer than 8 bits a channel"


def test_one_transparent_value_of_8_bits_becomes_alpha() -> None:
    values = np.arange(960, dtype=np.uint8).reshape(24, 40)
    pixels = b"".join(b"\0" + row.tobytes() for row in values)
    back = restored(png([(b"tRNS", struct.pack(">H", 7))], pixels=pixels, colour=0))
    assert np.array_equal(rgba(back)[:, :, 3] == 0, values == 7)


def test_what_refers_to_a_palette_refers_to_its_colours_afterwards() -> None:
    pixels = b"".join(b"\0" + bytes([i % 3] * 40) for i in range(24))
    palette = (b"PLTE", bytes([9, 8, 7, 200, 100, 50, 1, 2, 3]))
    before = [(b"sBIT", b"\5\6\7"), palette, (b"tRNS", b"\0\xff"), (b"bKGD", b"\1"), (b"pHYs", bytes(9))]
    back = restored(png(before, pixels=pixels, colour=3))
    assert chunks(back) == [(b"sBIT", b"\5\6\7\x08"), (b"bKGD", struct.pack(">3H", 200, 100, 50)), (b"pHYs", bytes(9))]
    assert Image.open(io.BytesIO(back)).mode == "RGBA"


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ([(b"prVT", b"private, unsafe to copy")], "unknown chunk"),
        ([(b"PRvt", b"private and critical")], "unknown chunk"),
        ([(b"acTL", struct.pack(">II", 1, 0)), (b"fcTL", bytes(26))], "several frames"),
        ([(b"iCCP", b"name\0\0not zlib")], "damaged"),
        ([(b"hIST", bytes(6))], "unknown chunk"),
    ],
    ids=["unsafe", "critical", "animation", "broken profile", "histogram"],
)
def test_a_chunk_that_cannot_be_carried_keeps_the_file(before: list[Chunk], why: str) -> None:
    assert why in why_kept(png(before))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [(b"tRNS", bytes(6))]),
        ([(b"tRNS", bytes(6))] * 2, []),
        ([(b"tRNS", bytes(6)), (b"PLTE", bytes(9))], []),
    ],
    ids=["behind the pixels", "twice", "before the palette"],
)
def test_transparency_that_readers_do_not_agree_on_keeps_the_file(before: list[Chunk], after: list[Chunk]) -> None:
    """libpng ignores it, Pillow does not: what comes back would have an alpha that was not seen before."""
    assert "unknown order" in why_kept(png(before, after))


def test_transparency_of_more_colours_than_the_palette_has_keeps_the_file() -> None:
    before, pixels = [(b"PLTE", bytes(9)), (b"tRNS", bytes(4))], bytes(24 * 41)
    assert "more colours" in why_kept(png(before, pixels=pixels, colour=3))


def test_a_chunk_with_a_wrong_checksum_is_not_carried() -> None:
    source = png([(b"tEXt", b"Author\0Ada")])
    with pytest.raises(Unexpected, match="damaged"):
        read(source.replace(b"Author", b"Bother"))


def test_a_profile_that_inflates_without_end_is_not_carried() -> None:
    with pytest.raises(Unexpected, match="damaged"):
        read(png([(b"iCCP", b"bomb\0\0" + zlib.compress(bytes(80 << 20), 9))]))


def test_apples_table_of_places_in_the_pixels_does_not_come_back() -> None:
    assert chunks(restored(png([(b"iDOT", bytes(28)), (b"pHYs", bytes(9))]))) == [(b"pHYs", bytes(9))]


def test_an_opaque_alpha_plane_comes_back() -> None:
    source = encoded(Image.new("RGBA", (5, 5), (1, 2, 3, 255)), "PNG")
    assert Image.open(io.BytesIO(restored(source))).mode == "RGBA"
