"""Image files with all kinds of contents, and what a decode writes for them.

The parsers here are the tests' own, not those under test.
"""

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from model.core.picture import Picture
from pipeline.images.image_reader import read
from pipeline.images.image_writer import format_for, format_of_decoded, write_picture
from pipeline.images.reading import Reading
from tests.conftest import photo_like

RGB = Image.fromarray(photo_like(24, 40))
GREY = Image.fromarray(photo_like(24, 40, 1)[:, :, 0])

Segment = tuple[int, bytes]
Chunk = tuple[bytes, bytes]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture_of(source: bytes) -> Picture:
    reading = read(source)
    assert isinstance(reading, Reading), reading
    assert reading.picture is not None, reading.keep
    return reading.picture


def why_kept(source: bytes) -> str:
    """The reason for which a file is kept."""
    reading = read(source)
    assert isinstance(reading, Reading), reading
    assert reading.picture is None, "it is not kept"
    return str(reading.keep)


def restored(source: bytes) -> bytes:
    """The file that a decode writes, if the codec lost nothing of the pixels."""
    reading = read(source)
    assert isinstance(reading, Reading), reading
    assert reading.picture is not None, reading.keep
    return write_picture(reading.picture, format_for(reading.picture, format_of_decoded(reading.source_format)))


def rgba(source: bytes) -> np.ndarray:
    """Pixels by Pillow."""
    return np.asarray(Image.open(io.BytesIO(source)).convert("RGBA"))


def jpeg(segments: Sequence[Segment], behind: bytes = b"", image: Image.Image = RGB) -> bytes:
    """A JPEG with exactly these APPn and COM segments."""
    plain = encoded(image, "JPEG", quality=90)
    first = struct.unpack_from(">H", plain, 4)[0] + 4  # behind SOI and the encoder's JFIF segment
    middle = b"".join(b"\xff" + bytes([m]) + struct.pack(">H", len(data) + 2) + data for m, data in segments)
    return plain[:2] + middle + plain[first:] + behind


def segments(source: bytes) -> list[Segment]:
    """The APPn and COM segments of a JPEG."""
    found, at = list[Segment](), 2
    while source[at + 1] != 0xDA:
        marker, length = source[at + 1], struct.unpack_from(">H", source, at + 2)[0]
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            found.append((marker, source[at + 4 : at + 2 + length]))
        at += 2 + length
    return found


def png(
    before: Sequence[Chunk] = (),
    after: Sequence[Chunk] = (),
    behind: bytes = b"",
    pixels: bytes | None = None,
    depth: int = 8,
    colour: int = 2,
    size: tuple[int, int] = (40, 24),
) -> bytes:
    """A PNG with exactly these chunks around its pixels."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    rows = np.asarray(RGB).reshape(24, -1)
    data = pixels if pixels is not None else b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [(b"IHDR", header), *before, (b"IDAT", zlib.compress(data)), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, chunks)) + behind


def chunk(of: Chunk) -> bytes:
    kind, data = of
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def chunks(source: bytes) -> list[Chunk]:
    """The chunks of a PNG but those of its pixels; an ICC profile's is decompressed."""
    found, at = list[Chunk](), 8
    while True:
        length, kind = struct.unpack_from(">I4s", source, at)
        data = source[at + 8 : at + 8 + length]
        if kind == b"IEND":
            return found
        if kind == b"iCCP":
            name, profile = data.split(b"\0", 1)
            data = name + b"\0" + zlib.decompress(profile[1:])
        if kind not in (b"IHDR", b"IDAT"):
            found.append((kind, data))
        at += 12 + length


def behind_iend(source: bytes) -> bytes:
    return source.split(b"IEND\xaeB`\x82", 1)[1]


def riff(chunks: Sequence[Chunk], behind: bytes = b"") -> bytes:
    """A WebP of these chunks."""
    body = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) & 1) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body + behind


def riff_chunks(source: bytes) -> list[Chunk]:
    found, at, end = list[Chunk](), 12, 8 + struct.unpack_from("<I", source, 4)[0]
    while at < end:
        kind, length = struct.unpack_from("<4sI", source, at)
        found.append((kind, source[at + 8 : at + 8 + length]))
        at += 8 + length + (length & 1)
    return found
