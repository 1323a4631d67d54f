"""GIF: comments, XMP and ICC of a still image; anything else is not carried.

It is written as a PNG, so the skeleton is that of a PNG.
"""

import struct

from pipeline.containers.contents import Columns, Contents, Part, Skeleton, Unexpected
from pipeline.containers.png.png import profile_part, text_part, xmp_part

_COMMENT, _CONTROL, _APPLICATION = 0xFE, 0xF9, 0xFF
_XMP_APPLICATION, _ICC_APPLICATION = b"XMP DataXMP", b"ICCRGBG1012"
_XMP_TRAILER = 257
"""A ramp of bytes behind an XMP packet, which lets readers of blocks find its end."""


def read(source: bytes, bands: int) -> Contents:
    """A GIF without its pixels.

    Args:
        source: the file.
        bands: that the decoder gives: one less where all colours of the palette are grey.

    Raises:
        Unexpected: when it holds something that is not carried.
    """
    if source[:6] not in (b"GIF87a", b"GIF89a") or len(source) < 13:
        raise Unexpected("container: no GIF header")
    width, height, flags, background, aspect = struct.unpack_from("<HHBBB", source, 6)
    if aspect:
        raise Unexpected("container: pixels that are not square")
    at = 13
    palette = source[at : at + _palette_bytes(flags)]
    at += len(palette)
    parts, icc, xmp, images, transparent = list[Part](), b"", b"", 0, False
    while source[at : at + 1] != b";":
        kind, label = source[at : at + 1], source[at + 1 : at + 2]
        if kind == b",":
            images += 1
            at = _image(source, at, width, height)
        elif kind == b"!" and label == bytes([_CONTROL]) and source[at + 2 : at + 3] == b"\4" and not images:
            control, delay = struct.unpack_from("<BH", source[at + 3 : at + 6].ljust(3, b"\0"))
            if delay or control & 0x02 or transparent:
                raise Unexpected("several frames or pages")
            transparent = bool(control & 1)
            at += 8
        elif kind == b"!" and label == bytes([_COMMENT]):
            data, at = _blocks(source, at + 2)
            parts.append(_comment(data))
        elif kind == b"!" and label == bytes([_APPLICATION]):
            name = source[at + 3 : at + 14]
            end = _blocks(source, at + 2)[1]
            if name == _XMP_APPLICATION and not xmp:
                xmp = source[at + 14 : end - _XMP_TRAILER - 1]
                parts.append(xmp_part(len(xmp)))
            elif name == _ICC_APPLICATION and not icc:
                icc = _blocks(source, at + 14)[0]
                parts.append(profile_part(len(icc)))
            else:
                raise Unexpected("container: an unknown extension")
            at = end
        else:
            raise Unexpected("container: an unknown block" if kind else "container: cut short")
    if images != 1:
        raise Unexpected("several frames or pages")
    if source[at + 1 :]:
        raise Unexpected("container: bytes behind the end")
    if background and 3 * background + 3 <= len(palette):
        parts.append(Part(b"bKGD", (struct.pack(">3H", *palette[3 * background : 3 * background + 3]),)))
    if transparent != (bands in (2, 4)):
        raise Unexpected("container: transparency that the decoder does not see")
    return Contents(width, height, bands, Skeleton("png", tuple(parts)), Columns(icc, b"", xmp))


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _image(source: bytes, at: int, width: int, height: int) -> int:
    """Where an image that fills the canvas ends."""
    if len(source) < at + 10:
        raise Unexpected("container: cut short")
    left, top, wide, high, flags = struct.unpack_from("<HHHHB", source, at + 1)
    if (left, top, wide, high) != (0, 0, width, height):
        raise Unexpected("container: a picture that is smaller than its canvas")
    return _blocks(source, at + 10 + _palette_bytes(flags) + 1)[1]


def _blocks(source: bytes, at: int) -> tuple[bytes, int]:
    """The content of blocks of up to 255 bytes, and where they end."""
    found = list[bytes]()
    while True:
        if at >= len(source):
            raise Unexpected("container: cut short")
        size = source[at]
        if not size:
            return b"".join(found), at + 1
        found.append(source[at + 1 : at + 1 + size])
        at += 1 + size


def _comment(data: bytes) -> Part:
    text = data.rstrip(b"\0")
    if b"\0" in text:
        raise Unexpected("container: a comment that is no text")
    return text_part("Comment", text.decode("latin-1"))
