"""A PNG around samples that are stored elsewhere: every chunk but IDAT and IEND as it is, byte for byte.

Other than `pipeline.containers.png.png`, it keeps depth, palette and transparency, as the samples stay
what they are: indices, or numbers of 1 to 16 bits.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.containers.contents import Columns, Part, Skeleton, Unexpected
from pipeline.containers.png import png

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Samples per pixel and depths by the type of colour."""
_PALETTE = 3
_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: first column and row, and the steps between them."""


@dataclass(frozen=True, slots=True)
class Header:
    """What IHDR says: size in pixels, bits per sample, type of colour, and whether it is interlaced."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @classmethod
    def of(cls, data: bytes) -> "Header":
        """The header in an IHDR chunk.

        Raises:
            Unexpected: for one that the specification does not know.
        """
        if len(data) != 13:
            raise Unexpected("container: chunks in an unknown order")
        width, height, depth, colour, compression, filters, interlace = struct.unpack(">IIBBBBB", data)
        if depth not in _DEPTHS.get(colour, ()) or compression or filters or interlace > 1:
            raise Unexpected("container: an unknown kind of PNG")
        return cls(width, height, depth, colour, interlace == 1)

    @property
    def samples(self) -> int:
        """Samples per pixel."""
        return _SAMPLES[self.colour]

    @property
    def packed(self) -> bool:
        """Whether samples are indices, or share bytes: read as a palette's indices."""
        return self.colour == _PALETTE or self.depth < 8

    def length(self) -> int:
        """Bytes of the filtered rows."""
        passes = _PASSES if self.interlaced else ((0, 0, 1, 1),)
        total = 0
        for x, y, step_x, step_y in passes:
            columns, rows = -(-(self.width - x) // step_x), -(-(self.height - y) // step_y)
            total += rows * (1 + -(-columns * self.samples * self.depth // 8)) if columns > 0 and rows > 0 else 0
        return total


def split(source: bytes) -> tuple[Skeleton, Header, bytes]:
    """The skeleton, the header, and a PNG for decoders: the same samples without anything else.

    Where samples are packed, that is a palette's, so that decoders give them unscaled.

    Raises:
        Unexpected: for animations, unknown critical chunks, and compressed data that is not exactly
            the rows.
    """
    if not source.startswith(png.SIGNATURE):
        raise Unexpected("container: no PNG signature")
    chunks, end = png.chunks_of(source)
    kinds = [kind for kind, _ in chunks]
    if kinds[0] != b"IHDR" or b"IDAT" not in kinds or kinds.count(b"IHDR") != 1:
        raise Unexpected("container: chunks in an unknown order")
    if _ANIMATION & set(kinds):
        raise Unexpected("several frames or pages")
    if any(not kind[0] & 0x20 and kind not in (b"IHDR", b"PLTE", b"IDAT", b"IEND") for kind in kinds):
        raise Unexpected("container: an unknown chunk that depends on the pixels")
    first, last = kinds.index(b"IDAT"), len(kinds) - 1 - kinds[::-1].index(b"IDAT")
    if set(kinds[first : last + 1]) != {b"IDAT"}:
        raise Unexpected("container: chunks in an unknown order")
    header = Header.of(chunks[0][1])
    data = b"".join(content for _, content in chunks[first : last + 1])
    _check_rows(data, header.length())
    skeleton = Skeleton("png", _parts(chunks[:first]), _parts(chunks[last + 1 : -1]), source[end:])
    plain = [png.SIGNATURE, png.chunk(b"IHDR", chunks[0][1])]
    if header.packed:
        shown = chunks[0][1][:9] + bytes([_PALETTE]) + chunks[0][1][10:]
        plain = [png.SIGNATURE, png.chunk(b"IHDR", shown), png.chunk(b"PLTE", bytes(3 << header.depth))]
    return skeleton, header, b"".join([*plain, png.chunk(b"IDAT", data), png.chunk(b"IEND", b"")])


def header_of(skeleton: Skeleton) -> Header:
    """The header in a skeleton.

    Raises:
        ValueError: when there is none.
    """
    if not skeleton.before or skeleton.before[0].name != b"IHDR":
        raise ValueError("the skeleton has no header")
    try:
        return Header.of(skeleton.before[0].data(Columns()))
    except Unexpected as e:
        raise ValueError(str(e)) from None


def rows_of(samples: NDArray[np.unsignedinteger], header: Header) -> NDArray[np.unsignedinteger]:
    """Samples as an encoder for 8 or 16 bits takes them: several of fewer than 8 bits in one byte.

    Filters work on whole bytes, so the rows of a PNG of 8-bit grey are those of any packed one.
    """
    if header.depth >= 8:
        return samples
    bits = np.unpackbits(samples.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - header.depth :]
    return np.packbits(bits.reshape(len(samples), -1), axis=1)


def join(skeleton: Skeleton, encoded: bytes) -> bytes:
    """A PNG with the skeleton around an encoder's compressed rows; not interlaced.

    Args:
        skeleton: of `split`.
        encoded: a PNG of the rows (`rows_of`).
    """
    header, columns = header_of(skeleton), Columns()
    plain = struct.pack(">IIBBBBB", header.width, header.height, header.depth, header.colour, 0, 0, 0)
    out = [png.SIGNATURE, png.chunk(b"IHDR", plain)]
    out += [png.chunk(part.name, part.data(columns)) for part in skeleton.before[1:]]
    out += [png.chunk(kind, data) for kind, data in png.chunks_of(encoded)[0] if kind == b"IDAT"]
    out += [png.chunk(part.name, part.data(columns)) for part in skeleton.after]
    return b"".join(out) + png.chunk(b"IEND", b"") + skeleton.behind


def _parts(chunks: list[tuple[bytes, bytes]]) -> tuple[Part, ...]:
    """Chunks as parts; iDOT gives places in the compressed rows, and interlacing is about storage."""
    kept = [(kind, data[:12] + b"\0" if kind == b"IHDR" else data) for kind, data in chunks if kind != b"iDOT"]
    return tuple(Part(kind, (data,)) for kind, data in kept)


def _check_rows(data: bytes, length: int) -> None:
    """Check that compressed data is the rows and nothing else."""
    inflater = zlib.decompressobj()
    try:
        found = len(inflater.decompress(data, length + 1))
    except zlib.error:
        raise Unexpected("container: a damaged chunk") from None
    if found != length or not inflater.eof or inflater.unused_data:
        raise Unexpected("container: rows of another length, or bytes behind them")
