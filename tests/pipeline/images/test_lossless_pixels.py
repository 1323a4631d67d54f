"""A kept PNG or TIFF comes back from JPEG XL with the same samples and facts, by others' readers, or stays as it is."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from model.core.errors import DamagedPayload
from pipeline.images.formats.lossless_pixels import from_pixels, to_pixels
from tests.conftest import photo_like
from tests.pipeline.containers.files import chunk

tifffile = pytest.importorskip("tifffile")
PHOTO = photo_like(64, 72, 4).astype(np.uint16) * 257 + np.random.default_rng(0).integers(0, 40, (64, 72, 4))
DEEP = np.ascontiguousarray(PHOTO.clip(0, 65535).astype(np.uint16))
GREY = np.ascontiguousarray(DEEP[:, :, 0])
EIGHT = (DEEP >> 8).astype(np.uint8)
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
EXTRA = [
    (b"gAMA", struct.pack(">I", 45455)),
    (b"tEXt", b"Author\0Ada"),
    (b"pHYs", struct.pack(">IIB", 11811, 11811, 1)),
]


def rows(samples: np.ndarray, depth: int) -> bytes:
    """Unfiltered rows of a PNG."""
    height = len(samples)
    if depth < 8:
        bits = np.unpackbits(samples.astype(np.uint8).reshape(height, -1, 1), axis=2)[:, :, 8 - depth :]
        packed = np.packbits(bits.reshape(height, -1), axis=1)
    else:
        packed = samples.astype(">u2" if depth == 16 else np.uint8).reshape(height, -1).view(np.uint8)
    return b"".join(b"\0" + row.tobytes() for row in packed)


def png(samples: np.ndarray, depth: int, colour: int, *chunks: tuple[bytes, bytes], adam7: bool = False) -> bytes:
    """A PNG with exactly these chunks before its pixels, one behind them, and bytes behind its end."""
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour, 0, 0, adam7)
    passes = ADAM7 if adam7 else ((0, 0, 1, 1),)
    data = b"".join(rows(part, depth) for x, y, dx, dy in passes if (part := samples[y::dy, x::dx]).size)
    whole = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(data, 0)), (b"tIME", bytes(7)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, whole)) + b"behind the end"


def chunks_of(source: bytes) -> list[tuple[bytes, bytes]]:
    """All chunks but IDAT; the header without its last byte, which says whether it is interlaced."""
    found, at = list[tuple[bytes, bytes]](), 8
    while not found or found[-1][0] != b"IEND":
        length, kind = struct.unpack_from(">I4s", source, at)
        found += [(kind, source[at + 8 : at + 8 + length - (kind == b"IHDR")])] if kind != b"IDAT" else []
        at += 12 + length
    return [*found, (b"behind", source[at:])]


PALETTE = (b"PLTE", bytes(range(48)))
PNGS: dict[str, tuple[bytes, np.ndarray]] = {
    "grey 16": (png(GREY, 16, 0, *EXTRA), GREY),
    "RGB 16": (png(DEEP[:, :, :3], 16, 2, *EXTRA), DEEP[:, :, :3]),
    "grey and alpha 16": (png(DEEP[:, :, :2], 16, 4), DEEP[:, :, :2]),
    "RGBA 16": (png(DEEP, 16, 6), DEEP),
    "RGB 16 with tRNS": (png(DEEP[:, :, :3], 16, 2, (b"tRNS", struct.pack(">3H", *DEEP[0, 0, :3]))), DEEP[:, :, :3]),
    "RGB 16 Adam7": (png(DEEP[:, :, :3], 16, 2, adam7=True), DEEP[:, :, :3]),
    "RGB 8": (png(EIGHT[:, :, :3], 8, 2, (b"sBIT", bytes([5, 6, 5])), (b"bKGD", bytes(6))), EIGHT[:, :, :3]),
    "RGBA 8": (png(EIGHT, 8, 6), EIGHT),
    "grey 4": (png(EIGHT[:, :71, 0] >> 4, 4, 0, (b"tRNS", b"\0\3")), EIGHT[:, :71, 0] >> 4),
    "grey 2": (png(EIGHT[:, :71, 0] >> 6, 2, 0), EIGHT[:, :71, 0] >> 6),
    "grey 4 Adam7": (png(EIGHT[:, :71, 0] >> 4, 4, 0, adam7=True), EIGHT[:, :71, 0] >> 4),
    "palette 8": (
        png(EIGHT[:, :, 0] // 16, 8, 3, PALETTE, (b"tRNS", b"\0\x80"), (b"hIST", bytes(32))),
        EIGHT[:, :, 0] // 16,
    ),
    "palette 4": (png(EIGHT[:, :71, 0] // 16, 4, 3, PALETTE), EIGHT[:, :71, 0] // 16),
}


def samples_of_png(source: bytes, kind: str) -> np.ndarray:
    """Samples by libpng or, where Pillow can give them as they are, by Pillow."""
    if "palette" in kind:
        return np.asarray(Image.open(io.BytesIO(source)))
    found = np.asarray(imagecodecs.png_decode(source))
    if "tRNS" in kind:
        found = found[:, :, :3]
    if "grey 4" in kind or "grey 2" in kind:  # libpng scales them; a transparent value makes a second band
        found = (found[:, :, 0] if found.ndim == 3 else found) // (17 if "4" in kind else 85)
    return found


@pytest.mark.parametrize("kind", PNGS)
def test_each_kind_of_png_comes_back_with_its_samples_and_chunks(kind: str) -> None:
    source, samples = PNGS[kind]
    payload = to_pixels(source)
    assert payload is not None and len(payload) < len(source)
    back = from_pixels(payload)
    assert chunks_of(back) == chunks_of(source)
    assert np.array_equal(samples_of_png(back, kind), samples)
    assert np.array_equal(samples_of_png(source, kind), samples), "the test reads the source right"


def tiff(samples: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    options = {"metadata": None, "description": "a kite", "resolution": (300, 300), "software": "s", **options}
    tifffile.imwrite(file, samples, **options)
    return file.getvalue()


FLOAT = np.ascontiguousarray(DEEP[:, :, :3].astype(np.float32) / 65535 - 0.25)
PLANES = np.ascontiguousarray(DEEP[:, :, :3].transpose(2, 0, 1))
COLOURS = np.linspace(0, 65535, 768).astype(np.uint16).reshape(3, 256)
TIFFS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "grey 16": (GREY, {"photometric": "minisblack"}),
    "white is zero": (GREY, {"photometric": "miniswhite"}),
    "RGB 16": (DEEP[:, :, :3], {"photometric": "rgb"}),
    "RGB 16, big-endian": (DEEP[:, :, :3], {"photometric": "rgb", "byteorder": ">"}),
    "RGB 16, LZW, predictor": (DEEP[:, :, :3], {"photometric": "rgb", "compression": "lzw", "predictor": True}),
    "RGB 16, deflate": (DEEP[:, :, :3], {"photometric": "rgb", "compression": "zlib", "byteorder": ">"}),
    "RGB 16, tiled": (DEEP[:, :, :3], {"photometric": "rgb", "tile": (32, 32), "compression": "zlib"}),
    "RGB 16, planes": (PLANES, {"photometric": "rgb", "planarconfig": "separate"}),
    "RGBA 16": (DEEP, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "premultiplied alpha": (DEEP, {"photometric": "rgb", "extrasamples": ["assocalpha"]}),
    "infrared band": (EIGHT, {"photometric": "rgb", "extrasamples": ["unspecified"]}),
    "CMYK 8": (EIGHT, {"photometric": "separated"}),
    "CMYK 16": (DEEP, {"photometric": "separated", "compression": "zlib"}),
    "five bands": (np.dstack([DEEP, GREY]), {"photometric": "minisblack", "planarconfig": "contig"}),
    "Lab 8": (EIGHT[:, :, :3], {"photometric": "cielab"}),
    "palette": (EIGHT[:, :, 0], {"photometric": "palette", "colormap": COLOURS}),
    "float 32": (FLOAT, {"photometric": "rgb"}),
    "float 32, LZW": (FLOAT, {"photometric": "rgb", "compression": "lzw"}),
    "float 32, big-endian": (FLOAT, {"photometric": "rgb", "byteorder": ">"}),
    "float 16": (FLOAT[:, :, 0].astype(np.float16), {"photometric": "minisblack"}),
}
ABOUT_STORAGE = {256, 257, 259, 273, 278, 279, 284, 317, 322, 323, 324, 325}


def facts(source: bytes) -> tuple[str, dict[int, Any]]:
    with tifffile.TiffFile(io.BytesIO(source)) as file:
        (page,) = file.pages
        tags = {tag.code: (tag.dtype, repr(tag.value)) for tag in page.tags if tag.code not in ABOUT_STORAGE}
        return file.byteorder, tags


@pytest.mark.parametrize("kind", TIFFS)
def test_each_kind_of_tiff_comes_back_with_its_samples_and_tags(kind: str) -> None:
    samples, options = TIFFS[kind]
    source = tiff(samples, **options)
    payload = to_pixels(source)
    assert payload is not None and len(payload) < len(source)
    back = from_pixels(payload)
    assert facts(back) == facts(source)
    found = tifffile.imread(io.BytesIO(back))
    expected = samples.transpose(1, 2, 0) if "planes" in kind else samples
    assert found.dtype == samples.dtype and found.tobytes() == np.ascontiguousarray(expected).tobytes()


KEPT = {
    "1 bit": tiff(GREY > 30000, photometric="minisblack"),
    "12 bits": tiff(GREY >> 4, photometric="minisblack", bitspersample=12),
    "signed": tiff(GREY.astype(np.int16), photometric="minisblack"),
    "32 bits": tiff(GREY.astype(np.uint32), photometric="minisblack"),
    "BigTIFF": tiff(GREY, photometric="minisblack", bigtiff=True),
    "two pages": tiff(np.stack([GREY, GREY]), photometric="minisblack"),
    "unknown tag": tiff(GREY, photometric="minisblack", extratags=[(65000, "H", 1, 7, True)]),
    "JPEG inside": tiff(EIGHT[:, :, :3], photometric="rgb", compression="jpeg"),
    "bytes that no tag refers to": tiff(GREY, photometric="minisblack") + b"a secret of the owner" * 9,
    "animation": PNGS["RGB 16"][0].replace(chunk(EXTRA[0]), chunk((b"acTL", bytes(8)))),
    "unknown critical chunk": PNGS["RGB 16"][0].replace(chunk(EXTRA[0]), chunk((b"ABCD", b"?"))),
    "cut short": png(GREY, 16, 0)[:-200],
    "JPEG": b"\xff\xd8\xff\xe0 no picture",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_would_not_come_back_whole_is_not_converted(kind: str) -> None:
    assert to_pixels(KEPT[kind]) is None


def test_hidden_bytes_in_compressed_rows_and_strips_keep_the_file() -> None:
    plain = png(GREY, 16, 0)
    compressed = zlib.compress(rows(GREY, 16), 0)
    assert to_pixels(plain.replace(chunk((b"IDAT", compressed)), chunk((b"IDAT", compressed + b"secret")))) is None
    longer = zlib.compress(rows(GREY, 16) + b"secret", 0)
    assert to_pixels(plain.replace(chunk((b"IDAT", compressed)), chunk((b"IDAT", longer)))) is None


def test_what_gets_no_smaller_is_not_converted() -> None:
    noise = np.random.default_rng(1).integers(0, 65536, (40, 40), np.uint16)
    assert to_pixels(png(noise, 16, 0)) is None


def test_the_payload_is_a_jpeg_xl_that_other_programs_read() -> None:
    payload = to_pixels(PNGS["RGB 16"][0])
    assert payload is not None and np.array_equal(imagecodecs.jpegxl_decode(payload), DEEP[:, :, :3])


def test_a_damaged_payload_is_noticed() -> None:
    payload = to_pixels(PNGS["palette 8"][0])
    assert payload is not None
    for place in range(0, len(payload), max(1, len(payload) // 60)):
        changed = payload[:place] + bytes([payload[place] ^ 16]) + payload[place + 1 :]
        try:
            assert from_pixels(changed) == from_pixels(payload)  # in bytes that say nothing
        except DamagedPayload:
            continue
    for cut in (0, 11, 40, len(payload) - 5):
        with pytest.raises(DamagedPayload):
            from_pixels(payload[:cut])


def test_files_of_the_png_suite_come_back_or_are_kept(shared_data: Path) -> None:
    converted = 0
    for file in sorted((shared_data / "awkward" / "pngsuite-image-rs").glob("*.png")):
        source = file.read_bytes()
        payload = to_pixels(source)
        if payload is not None:
            converted += 1
            back = from_pixels(payload)
            kept = [c for c in chunks_of(source) if c[0] != b"iDOT"]
            assert chunks_of(back) == kept, file.name
            with Image.open(io.BytesIO(source)) as was, Image.open(io.BytesIO(back)) as now:
                assert was.mode == now.mode and was.tobytes() == now.tobytes(), file.name
    assert converted >= 3
