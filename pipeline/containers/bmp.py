"""BMP: density, sRGB tag and ICC profile; anything else is not carried.

It is written as a PNG, so the skeleton is that of a PNG. Both give density in pixels per metre.
"""

import struct

from pipeline.containers.contents import Columns, Contents, Part, Skeleton, Unexpected
from pipeline.containers.png.png import profile_part

_CORE, _INFO, _V4, _V5 = 12, 40, 108, 124
_SRGB, _WINDOWS, _EMBEDDED = b"BGRs", b" niW", b"DEBM"
_INTENTS = {0: 0, 1: 2, 2: 1, 4: 0, 8: 3}
"""PNG's rendering intent (0 perceptual, 1 relative, 2 saturation, 3 absolute) for a BMP's."""


def read(source: bytes, bands: int) -> Contents:
    """A BMP without its pixels.

    Args:
        source: the file.
        bands: that the decoder found, since a BMP has several ways to hold alpha.

    Raises:
        Unexpected: when it holds something that is not carried.
    """
    if source[:2] != b"BM" or len(source) < 26:
        raise Unexpected("container: no BMP header")
    _, reserved, pixels, header = struct.unpack_from("<IIII", source, 2)
    if reserved or header not in (_CORE, _INFO, 52, 56, _V4, _V5) or len(source) < 14 + header:
        raise Unexpected("container: an unknown kind of BMP")
    if header == _CORE:
        width, height, planes, bits = struct.unpack_from("<HHHH", source, 18)
        compression, x, y = 0, 0, 0
    else:
        width, height, planes, bits, compression, stored, x, y = struct.unpack_from("<iiHHIIii", source, 18)
    if bits == 16 or (bits < 8 and bands == 1):
        raise Unexpected("fewer than 8 bits a channel")
    if planes != 1 or bits not in (1, 4, 8, 24, 32) or compression not in (0, 1, 2, 3):
        raise Unexpected("container: an unknown kind of BMP")
    parts = list[Part]()
    if x > 0 and y > 0:
        parts.append(Part(b"pHYs", (struct.pack(">IIB", x, y, 1),)))
    elif x or y:
        raise Unexpected("container: an impossible density")
    icc, end = b"", len(source)
    if header in (_V4, _V5):
        icc, end, part = _colours(source, header)
        parts += [part] if part else []
    colours = _colours_bytes(source, header, bits)
    start = 14 + header + colours + (12 if header == _INFO and compression == 3 else 0)
    if source[start:pixels].strip(b"\0"):
        raise Unexpected("container: bytes before the pixels")
    stored = -(-width * bits // 32) * 4 * abs(height) if compression in (0, 3) else stored
    if pixels + stored > len(source):
        raise Unexpected("container: cut short")
    if source[pixels + stored : end].strip(b"\0"):
        raise Unexpected("container: bytes behind the end")
    if bits == 32 and bands == 3 and _fourth_band(source[pixels : pixels + stored]):
        raise Unexpected("extra bands")
    return Contents(width, abs(height), bands, Skeleton("png", tuple(parts)), Columns(icc))


def _colours_bytes(source: bytes, header: int, bits: int) -> int:
    """Bytes of the palette; none of one that only suggests colours, as it does beside RGB."""
    if bits > 8:
        return 0
    if header == _CORE:
        return 3 << bits
    used: int = struct.unpack_from("<I", source, 14 + 32)[0]
    return 4 * used if 0 < used <= 1 << bits else 4 << bits


def _fourth_band(pixels: bytes) -> bool:
    """Whether the bytes that BMP leaves unused hold anything."""
    return len(set(pixels[3::4])) > 1


def _colours(source: bytes, header: int) -> tuple[bytes, int, Part | None]:
    """The profile, where the pixels' part of the file ends at the latest, and a chunk."""
    space, end = source[14 + 56 : 14 + 60], len(source)
    intent, place, size = struct.unpack_from("<III", source, 14 + 108) if header == _V5 else (0, 0, 0)
    if space == _SRGB:
        return b"", end, Part(b"sRGB", (bytes([_INTENTS.get(intent, 0)]),))
    if space == _WINDOWS or (space == bytes(4) and not any(source[14 + 60 : 14 + 108])):
        return b"", end, None
    if space == _EMBEDDED and size and len(source) >= 14 + place + size:
        if source[14 + place + size :]:
            raise Unexpected("container: bytes behind the end")
        return source[14 + place : 14 + place + size], 14 + place, profile_part(size)
    raise Unexpected("colours of an unknown kind")
