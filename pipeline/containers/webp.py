"""WebP: every chunk but those of the pixels, and what is behind the end of the RIFF file.

About storage: VP8, VP8L, ALPH, and VP8X, whose flags follow from the other chunks.
"""

import struct

from pipeline.containers.behind import check_behind
from pipeline.containers.contents import Column, Columns, Contents, Copy, Part, Skeleton, Unexpected

_PIXELS = frozenset({b"VP8 ", b"VP8L", b"ALPH"})
_EXTENDED = b"VP8X"
_COLUMNS = {b"ICCP": Column.ICC, b"EXIF": Column.EXIF, b"XMP ": Column.XMP}
_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}
_ALPHA, _ANIMATION = 0x10, 0x02
_ALPHA_IN_PIXELS = 0x10
_SIDE_BITS = 14
"""Bits of a side in a VP8 frame; the two above them tell how much larger to show it."""


def read(source: bytes, places: bool = True) -> Contents:
    """A WebP without its pixels.

    Args:
        source: the file.
        places: look for places in the file that are given where they cannot be put right.

    Raises:
        Unexpected: when it holds something that is not carried.
    """
    chunks, end = _chunks(source)
    if places:
        check_behind(source, end)
    kinds = [kind for kind, _ in chunks]
    pixels = [i for i, kind in enumerate(kinds) if kind in _PIXELS]
    if not pixels or kinds[pixels[0] : pixels[-1] + 1] not in ([b"VP8 "], [b"VP8L"], [b"ALPH", b"VP8 "]):
        raise Unexpected("container: chunks in an unknown order")
    width, height, alpha = _size(chunks, pixels)
    values = dict.fromkeys(Column, b"")
    parts = list[Part | None]()
    for kind, data in chunks:
        column = _COLUMNS.get(kind)
        if kind in _PIXELS or kind == _EXTENDED:
            parts.append(None)
        elif column is not None and data and not values[column]:
            values[column] = data
            parts.append(Part(kind, (Copy(column, 0, len(data)),)))
        else:
            parts.append(Part(kind, (data,)))
    before = tuple(part for part in parts[: pixels[0]] if part)
    after = tuple(part for part in parts[pixels[0] :] if part)
    skeleton = Skeleton("webp", before, after, source[end:])
    columns = Columns(values[Column.ICC], values[Column.EXIF], values[Column.XMP])
    return Contents(width, height, 4 if alpha else 3, skeleton, columns)


def write(encoded: bytes, skeleton: Skeleton, columns: Columns, size: tuple[int, int], alpha: bool) -> bytes:
    """A WebP with another's skeleton; see `pipeline.containers.jpeg.jpeg.write`.

    Args:
        encoded: as a lossless encoder wrote it.
        skeleton: what to write beside the pixels.
        columns: what it refers to.
        size: width and height in pixels.
        alpha: whether the picture has alpha, which the pixels alone do not tell if all is opaque.
    """
    pixels = [(kind, _with_alpha(data) if alpha else data) for kind, data in _chunks(encoded)[0] if kind in _PIXELS]
    parts = [(part.name, part.data(columns)) for part in (*skeleton.before, *skeleton.after)]
    if any(len(name) != 4 or name in _PIXELS or name == _EXTENDED for name, _ in parts):
        raise ValueError("the skeleton has a chunk that is about pixels")
    chunks = [*parts[: len(skeleton.before)], *pixels, *parts[len(skeleton.before) :]]
    if parts or alpha:
        flags = (_ALPHA if alpha else 0) | sum({_FLAGS.get(name, 0) for name, _ in parts})
        canvas = b"".join((side - 1).to_bytes(3, "little") for side in size)
        chunks.insert(0, (_EXTENDED, bytes([flags, 0, 0, 0]) + canvas))
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) & 1) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body + skeleton.behind


def _with_alpha(pixels: bytes) -> bytes:
    """Lossless pixels marked as having alpha: encoders leave the mark out where all is opaque."""
    return pixels[:4] + bytes([pixels[4] | _ALPHA_IN_PIXELS]) + pixels[5:]


def default_skeleton(columns: Columns) -> Skeleton:
    """The skeleton of a WebP that holds these columns and nothing else."""
    values = {Column.ICC: columns.icc, Column.EXIF: columns.exif, Column.XMP: columns.xmp}
    parts = [Part(kind, (Copy(column, 0, len(values[column])),)) for kind, column in _COLUMNS.items() if values[column]]
    before = tuple(part for part in parts if part.name == b"ICCP")
    return Skeleton("webp", before, tuple(part for part in parts if part.name != b"ICCP"))


def _chunks(source: bytes) -> tuple[list[tuple[bytes, bytes]], int]:
    if source[:4] != b"RIFF" or source[8:12] != b"WEBP":
        raise Unexpected("container: no RIFF header")
    (size,) = struct.unpack_from("<I", source, 4)
    end, at, found = 8 + size + (size & 1), 12, list[tuple[bytes, bytes]]()
    if end > len(source) + (size & 1):
        raise Unexpected("container: cut short")
    while at < 8 + size:
        if at + 8 > len(source):
            raise Unexpected("container: cut short")
        kind, length = struct.unpack_from("<4sI", source, at)
        data = source[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)
        if len(data) != length or at > end:
            raise Unexpected("container: a chunk is cut short")
        if kind in (b"ANIM", b"ANMF"):
            raise Unexpected("several frames or pages")
        found.append((kind, data))
    return found, min(end, len(source))


def _size(chunks: list[tuple[bytes, bytes]], pixels: list[int]) -> tuple[int, int, bool]:
    """Width, height and whether there is alpha."""
    kind, data = chunks[pixels[-1]]
    if kind == b"VP8L" and len(data) >= 5 and data[0] == 0x2F:
        bits = int.from_bytes(data[1:5], "little")
        width, height, alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    elif kind == b"VP8 " and len(data) >= 10 and data[3:6] == b"\x9d\x01\x2a":
        sides = struct.unpack_from("<HH", data, 6)
        if any(side >> _SIDE_BITS for side in sides):
            raise Unexpected("container: a size to be shown at that is not the picture's")
        (width, height), alpha = sides, False
    else:
        raise Unexpected("container: pixels of an unknown kind")
    extended = [data for kind, data in chunks if kind == _EXTENDED]
    if not extended:
        if len(pixels) > 1:
            raise Unexpected("container: chunks in an unknown order")
        return width, height, alpha
    if len(extended) > 1 or len(extended[0]) != 10 or chunks[0][0] != _EXTENDED or extended[0][0] & _ANIMATION:
        raise Unexpected("container: chunks in an unknown order")
    canvas = tuple(int.from_bytes(extended[0][at : at + 3], "little") + 1 for at in (4, 7))
    if canvas != (width, height):
        raise Unexpected("container: a picture that is smaller than its canvas")
    return width, height, alpha if kind == b"VP8L" else len(pixels) > 1
