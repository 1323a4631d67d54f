"""The container of a payload (a `.mae` file holds the same bytes): header, sections, checksum.

    magic "MAEP" | version u8 | colour kind u8 | fine quality u8 | model fingerprint 8 bytes
    width varint | height varint
    sections:  tag u8 | length varint | bytes
    tag 0 ends the sections; then the CRC-32C of everything before it, u32 little-endian

Sections come in the order of their tags, none twice, none empty; a reader skips tags above 127 that
it does not know. Varints are LEB128, unsigned, in their shortest form. This is version 1, which is final;
`docs/format.md` defines it.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

import google_crc32c

from model.core.errors import DamagedPayload
from model.core.picture import MAX_SIDE

MAGIC = b"MAEP"
VERSION = 1
FRACTIONS = 4
"""Fractions per quality; they change the gain alone. The header's byte is 4 quality + fraction."""
_FIXED = struct.Struct("<4sBBB8s")


class Tag(IntEnum):
    """Sections of version 1."""

    END = 0
    STREAM = 1
    """Entropy-coded z and symbols (`model.bitstream.stream`)."""
    ESCAPES = 2
    """Symbols beyond the range of their table; absent when there are none."""
    ALPHA = 3
    """Losslessly coded alpha plane; absent when there is none."""
    NUMBERS = 4
    """Checksum of the integers that the stream must decode to.

    See `model.bitstream.entropy_coder.numbers_checksum`.
    """
    ICC = 128
    EXIF = 129
    XMP = 130
    SKELETON = 131
    """What else the source's file held; `pipeline.containers` reads and writes it."""


METADATA = {"icc": Tag.ICC, "exif": Tag.EXIF, "xmp": Tag.XMP, "skeleton": Tag.SKELETON}
"""The sections of a picture's metadata, by the names of its attributes."""


class Colour(IntEnum):
    """Kind of the colour planes."""

    RGB = 0
    GREY = 1

    @property
    def planes(self) -> int:
        """Number of colour planes."""
        return 1 if self == Colour.GREY else 3


_TAGS = frozenset(map(int, Tag))
_COLOURS = frozenset(map(int, Colour))


@dataclass(frozen=True, slots=True)
class Header:
    """Facts about a payload that need no model.

    Attributes:
        fingerprint: 16 hex digits that name the model.
        width: in pixels.
        height: in pixels.
        quality: 0..63.
        colour: RGB or grey.
        fraction: 0..3, quarters of the way to the next quality; they change the gain alone.
    """

    fingerprint: str
    width: int
    height: int
    quality: int
    colour: Colour
    fraction: int = 0

    @property
    def fine_quality(self) -> float:
        """Quality plus fraction, 0..63.75."""
        return self.quality + self.fraction / FRACTIONS


def write(header: Header, sections: dict[Tag, bytes]) -> bytes:
    """Build a payload; sections are sorted, and empty ones left out."""
    quarters = header.quality * FRACTIONS + header.fraction
    parts = [_FIXED.pack(MAGIC, VERSION, header.colour, quarters, bytes.fromhex(header.fingerprint))]
    parts += [_varint(header.width), _varint(header.height)]
    for tag, data in sorted(sections.items()):
        if data:
            parts += [bytes([tag]), _varint(len(data)), data]
    body = b"".join(parts) + bytes([Tag.END])
    return body + struct.pack("<I", google_crc32c.value(body))


def read_header(payload: bytes) -> Header:
    """Read the header alone; the checksum is not verified.

    Raises:
        DamagedPayload: when the bytes are not a payload of a known version, or the size is
            impossible.
    """
    return _header(payload)[0]


def check(payload: bytes) -> None:
    """Verify the checksum.

    Raises:
        DamagedPayload: when any byte differs from what was written.
    """
    read_header(payload)
    if len(payload) < 5 or google_crc32c.value(payload[:-4]) != struct.unpack("<I", payload[-4:])[0]:
        raise DamagedPayload("the payload is damaged: its checksum does not match (restore it from a copy)")


def read(payload: bytes) -> tuple[Header, dict[int, bytes]]:
    """Read the header and the sections.

    Raises:
        DamagedPayload: when the payload is not intact.
    """
    check(payload)
    header, at = _header(payload)
    sections: dict[int, bytes] = {}
    end = len(payload) - 4
    before = 0
    while at < end:
        tag = payload[at]
        if tag == Tag.END:
            if at + 1 != end:
                break
            return header, sections
        length, at = _read_varint(payload, at + 1)
        if not length or at + length > end or tag <= before or (tag < 128 and tag not in _TAGS):
            break
        sections[tag] = payload[at : at + length]
        at, before = at + length, tag
    raise DamagedPayload("the payload's sections are damaged (restore it from a copy)")


def _header(payload: bytes) -> tuple[Header, int]:
    if len(payload) < _FIXED.size + 2 or payload[:4] != MAGIC:
        raise DamagedPayload("these bytes are not a maepress payload (they do not begin with MAEP)")
    _, version, colour, quarters, fingerprint = _FIXED.unpack_from(payload)
    if version != VERSION:
        raise DamagedPayload(
            f"the payload has format version {version}, this maepress reads {VERSION}: upgrade maepress"
        )
    width, at = _read_varint(payload, _FIXED.size)
    height, at = _read_varint(payload, at)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE) or colour not in _COLOURS:
        raise DamagedPayload(f"the payload's header is damaged ({width}x{height}, colour {colour})")
    quality, fraction = divmod(quarters, FRACTIONS)
    return Header(fingerprint.hex(), width, height, quality, Colour(colour), fraction), at


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift <= 35:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128 and (byte or not shift):
            return value, at
        if byte < 128:
            break
        shift += 7
    raise DamagedPayload("the payload is truncated or damaged")
