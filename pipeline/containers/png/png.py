"""PNG: every chunk but those of the pixels, and what is behind IEND.

About storage: IHDR, IDAT, IEND; the palette of a picture whose pixels are its indices (in others it
suggests colours, and is carried); tRNS, which the picture's alpha plane replaces; iDOT, which gives
places in IDAT. An unknown chunk that the specification calls safe to copy is carried; one
that depends on the pixels in a way we do not know is not.
"""

import struct
import zlib
from collections.abc import Iterator

from pipeline.containers.behind import check_behind
from pipeline.containers.contents import Column, Columns, Contents, Copy, Part, Skeleton, Unexpected

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STORAGE = frozenset({b"IHDR", b"IDAT", b"IEND", b"tRNS", b"iDOT"})
_UNSAFE_BUT_CARRIED = frozenset(
    {b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"bKGD", b"sPLT", b"tIME", b"oFFs"}
    | {b"pCAL", b"sCAL", b"sTER", b"caBX", b"eXIf", b"pHYs"}
)
"""Chunks that are not marked as safe to copy, but still hold when a picture of the same size and bands
is compressed again."""
_BANDS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_INDICES, _MAY_SUGGEST = 3, (2, 6)
"""Types of colour: indices into a palette, and those beside which a palette is a suggestion."""
XMP_KEYWORD = b"XML:com.adobe.xmp\0"
_MAX_PROFILE = 64 << 20
EXIF_PREFIX = b"Exif\0\0"


def read(source: bytes, places: bool = True) -> Contents:
    """A PNG without its pixels.

    Args:
        source: the file.
        places: look for places in the file that are given where they cannot be put right.

    Raises:
        Unexpected: when it holds something that is not carried.
    """
    if not source.startswith(SIGNATURE):
        raise Unexpected("container: no PNG signature")
    chunks, end = chunks_of(source)
    kinds = [kind for kind, _ in chunks]
    if kinds[0] != b"IHDR" or b"IDAT" not in kinds or len(chunks[0][1]) != 13:
        raise Unexpected("container: chunks in an unknown order")
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[0][1])
    if depth == 16:
        raise Unexpected("more than 8 bits a channel")
    if depth < 8 and colour == 0:
        raise Unexpected("fewer than 8 bits a channel")
    bands = _BANDS.get(colour, 0) + (b"tRNS" in kinds)
    first, last = kinds.index(b"IDAT"), len(kinds) - 1 - kinds[::-1].index(b"IDAT")
    if set(kinds[first : last + 1]) != {b"IDAT"}:
        raise Unexpected("container: chunks in an unknown order")
    palette = dict(chunks).get(b"PLTE", b"")
    _check_order(kinds[:first], kinds[first:])
    if colour == _INDICES and len(dict(chunks).get(b"tRNS", b"")) > len(palette) // 3:
        raise Unexpected("container: transparency of more colours than there are")
    if places:
        check_behind(source, end)
    builder = _Builder(colour, bands, palette)
    before = tuple(builder.parts(chunks[:first]))
    after = tuple(builder.parts(chunks[last + 1 :]))
    skeleton = Skeleton("png", before, after, source[end:])
    return Contents(width, height, bands, skeleton, Columns(builder.icc, builder.exif, builder.xmp))


def _check_order(before: list[bytes], after: list[bytes]) -> None:
    """Check that all readers see the same palette and transparency.

    Args:
        before: kinds of the chunks before the pixels.
        after: of the pixels and of what is behind them.

    Raises:
        Unexpected: where the specification is not followed: some readers ignore such a chunk, others do not.
    """
    order = (b"IHDR", b"PLTE", b"tRNS")
    found = [kind for kind in before if kind in order]
    if found != [kind for kind in order if kind in found] or set(order) & set(after):
        raise Unexpected("container: chunks in an unknown order")


def write(encoded: bytes, skeleton: Skeleton, columns: Columns) -> bytes:
    """A PNG with another's skeleton; see `pipeline.containers.jpeg.jpeg.write`."""
    chunks, _ = chunks_of(encoded)
    out = [SIGNATURE, chunk(*chunks[0])]
    out += [chunk(part.name, _stored(part, columns)) for part in skeleton.before]
    out += [chunk(kind, data) for kind, data in chunks if kind == b"IDAT"]
    out += [chunk(part.name, _stored(part, columns)) for part in skeleton.after]
    return b"".join(out) + chunk(b"IEND", b"") + skeleton.behind


def default_skeleton(columns: Columns) -> Skeleton:
    """The skeleton of a PNG that holds these columns and nothing else."""
    parts = list[Part]()
    if columns.icc:
        parts.append(profile_part(len(columns.icc)))
    if columns.exif:
        parts.append(exif_part(columns.exif))
    if columns.xmp:
        parts.append(xmp_part(len(columns.xmp)))
    return Skeleton("png", tuple(parts))


def profile_part(length: int, name: bytes = b"ICC Profile") -> Part:
    """The chunk of an ICC profile, which is compressed when it is written."""
    return Part(b"iCCP", (name + b"\0", Copy(Column.ICC, 0, length)))


def exif_part(exif: bytes) -> Part:
    """The chunk of an EXIF block."""
    start = len(EXIF_PREFIX) if exif.startswith(EXIF_PREFIX) else 0
    return Part(b"eXIf", (Copy(Column.EXIF, start, len(exif) - start),))


def xmp_part(length: int) -> Part:
    """The chunk of an XMP packet."""
    return Part(b"iTXt", (XMP_KEYWORD + bytes(4), Copy(Column.XMP, 0, length)))


def text_part(keyword: str, text: str) -> Part:
    """A chunk of text; UTF-8 where Latin-1 cannot hold it."""
    try:
        return Part(b"tEXt", (keyword.encode("latin-1") + b"\0" + text.encode("latin-1"),))
    except UnicodeEncodeError:
        return Part(b"iTXt", (keyword.encode("latin-1") + bytes(5) + text.encode(),))


def chunks_of(source: bytes) -> tuple[list[tuple[bytes, bytes]], int]:
    """Types and contents of the chunks up to IEND, and where that ends.

    Raises:
        Unexpected: when a chunk is cut short or damaged.
    """
    found, at = list[tuple[bytes, bytes]](), len(SIGNATURE)
    while True:
        if len(source) < at + 12:
            raise Unexpected("container: cut short")
        length, kind = struct.unpack_from(">I4s", source, at)
        end = at + 12 + length
        if end > len(source):
            raise Unexpected("container: cut short")
        data = source[at + 8 : end - 4]
        if kind != b"IDAT" and struct.unpack_from(">I", source, end - 4)[0] != zlib.crc32(data, zlib.crc32(kind)):
            raise Unexpected("container: a damaged chunk")
        found.append((kind, data))
        at = end
        if kind == b"IEND":
            return found, at


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk as it is in a file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _stored(part: Part, columns: Columns) -> bytes:
    """A chunk's content as it is in a file."""
    if len(part.name) != 4 or part.name in _STORAGE:
        raise ValueError(f"{part.name!r} is no chunk of a skeleton")
    data = part.data(columns)
    if part.name == b"iCCP":
        name, profile = data.split(b"\0", 1)
        return name + b"\0\0" + zlib.compress(profile)
    return data


class _Builder:
    """Turns chunks into parts, and collects the columns."""

    def __init__(self, colour: int, bands: int, palette: bytes) -> None:
        self._colour, self._bands, self._palette = colour, bands, palette
        self.icc = self.exif = self.xmp = b""

    def parts(self, chunks: list[tuple[bytes, bytes]]) -> Iterator[Part]:
        for kind, data in chunks:
            if kind not in _STORAGE and not (kind == b"PLTE" and self._colour == _INDICES):
                yield self._part(kind, data)

    def _part(self, kind: bytes, data: bytes) -> Part:
        match kind:
            case b"acTL" | b"fcTL" | b"fdAT":
                raise Unexpected("several frames or pages")
            case b"PLTE" if self._colour in _MAY_SUGGEST:
                return Part(kind, (data,))
            case b"iCCP" if not self.icc:
                name, self.icc = _profile(data)
                return profile_part(len(self.icc), name)
            case b"eXIf" if not self.exif and data:
                self.exif = EXIF_PREFIX + data
                return exif_part(self.exif)
            case b"iTXt" if data.startswith(XMP_KEYWORD) and not self.xmp:
                return self._xmp(data)
            case b"sBIT":
                return Part(kind, (self._significant_bits(data),))
            case b"bKGD":
                return Part(kind, (self._background(data),))
        if kind not in _UNSAFE_BUT_CARRIED and (kind[0] & 0x20 == 0 or kind[3] & 0x20 == 0):
            raise Unexpected("container: an unknown chunk that depends on the pixels")
        if kind == b"iCCP":
            raise Unexpected("container: two colour profiles")
        return Part(kind, (data,))

    def _xmp(self, data: bytes) -> Part:
        """Uncompressed, the part refers to the column; compressed, it is carried as it is."""
        at = len(XMP_KEYWORD)
        flags = data[at : at + 2]
        texts = data[at + 2 :].split(b"\0", 2)  # language, translated keyword, text
        if len(flags) != 2 or len(texts) != 3 or flags[0] > 1:
            raise Unexpected("container: a damaged chunk")
        if flags[0] == 1:
            self.xmp = _inflated(texts[2])
            return Part(b"iTXt", (data,))
        self.xmp = texts[2]
        return Part(b"iTXt", (data[: len(data) - len(self.xmp)], Copy(Column.XMP, 0, len(self.xmp))))

    def _significant_bits(self, data: bytes) -> bytes:
        """Palette and tRNS become bands of their own: the chunk has one byte for each band."""
        added = bytes([8]) if len(data) == self._bands - 1 else b""
        if len(data + added) != self._bands:
            raise Unexpected("container: a damaged chunk")
        return data + added

    def _background(self, data: bytes) -> bytes:
        """An index into the palette becomes its colour."""
        if self._colour != _INDICES:
            return data
        colour = self._palette[3 * data[0] : 3 * data[0] + 3] if len(data) == 1 else b""
        if len(colour) != 3:
            raise Unexpected("container: a damaged chunk")
        return struct.pack(">3H", *colour)


def _profile(data: bytes) -> tuple[bytes, bytes]:
    """Name and profile of an iCCP chunk."""
    name, found, rest = data.partition(b"\0")
    if not found or rest[:1] != b"\0":
        raise Unexpected("container: a damaged colour profile")
    return name, _inflated(rest[1:])


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        out = inflater.decompress(data, _MAX_PROFILE)
    except zlib.error:
        raise Unexpected("container: a damaged chunk") from None
    if not inflater.eof or not out:
        raise Unexpected("container: a damaged chunk")
    return out
