"""Bits a channel that a file really has, where Pillow hands out 8 without saying so.

Pillow narrows 16-bit RGB (PNG, TIFF, PPM, JPEG 2000) and 10 or 12-bit AVIF to 8 bits as it decodes. What would be lost
that way is better kept as its original bytes, so the reader asks here first. Grey of 16 bits needs no such care: Pillow
says so in its mode ("I;16").
"""

import re

from PIL import Image

_SIXTEEN_A_CHANNEL = re.compile(r"^(L|LA|RGB|RGBA|RGBX|RGBa|CMYK|I);(16|32)")
"""Pillow's raw modes of more than 8 bits a channel; "BGR;16" of a bitmap is 16 bits a *pixel* and fits."""

_CODESTREAM_SIZE = b"\xff\x4f\xff\x51"
"""How a JPEG 2000 codestream begins: SOC, then the SIZ marker whose 41st byte holds the first component's depth less
one."""

_HIGH_BIT_DEPTH = 0x40
"""The flag in the third byte of AVIF's `av1C` box."""


def is_deep(image: Image.Image, source: bytes) -> bool:
    """Whether a file holds more than 8 bits a channel.

    Args:
        image: as Pillow opened it, not yet loaded (loading forgets how the samples were stored).
        source: the same file's bytes.
    """
    if image.format == "JPEG2000":
        at = source.find(_CODESTREAM_SIZE)
        return at >= 0 and len(source) > at + 42 and (source[at + 42] & 0x7F) + 1 > 8
    if image.format == "AVIF":
        at = source.find(b"av1C")
        return at >= 0 and len(source) > at + 6 and bool(source[at + 6] & _HIGH_BIT_DEPTH)
    if image.format == "PPM":
        return _netpbm_maximum(image) > 255
    return any(_SIXTEEN_A_CHANNEL.match(_raw_mode(tile.args)) for tile in getattr(image, "tile", []))


def _raw_mode(args: object) -> str:
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _netpbm_maximum(image: Image.Image) -> int:
    """The greatest sample value that a Netpbm header names; 255 where Pillow carries none on."""
    args = image.tile[0].args if image.tile else ()  # type: ignore[attr-defined]
    return int(args[1]) if isinstance(args, tuple) and len(args) > 1 and isinstance(args[1], int) else 255
