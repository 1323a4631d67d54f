"""The bit depth stored in a file, where Pillow silently decodes to 8 bits per channel.

Pillow reduces 16-bit RGB (PNG, TIFF, PPM, JPEG 2000) and 10 or 12-bit AVIF to 8 bits when it
decodes. Such files are kept as their original bytes instead, so the reader checks here first. Grey
of 16 bits needs no check: Pillow's mode ("I;16") shows it.
"""

import re

from PIL import Image

_DEEP_RAW_MODE = re.compile(r"^(L|LA|RGB|RGBA|RGBX|RGBa|CMYK|I);(16|32)")
"""Pillow's raw modes of more than 8 bits per channel. ("BGR;16" of a BMP is 16 bits per
*pixel*.)"""

_CODESTREAM_SIZE = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream: SOC, then the SIZ marker, whose 41st byte is the first
component's depth minus 1."""

_HIGH_BIT_DEPTH = 0x40
"""The flag in the third byte of AVIF's `av1C` box."""


def is_deep(image: Image.Image, source: bytes) -> bool:
    """Whether a file has more than 8 bits per channel.

    Args:
        image: opened by Pillow, not yet loaded (loading discards the raw mode).
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
    return any(_DEEP_RAW_MODE.match(_raw_mode(tile.args)) for tile in getattr(image, "tile", []))


def holds_12_bits(image: Image.Image) -> bool:
    """Whether an image of Pillow's mode "I;16", not yet loaded, has samples from 0 to 4095, as some TIFFs do."""
    return any(_raw_mode(tile.args) == "I;12" for tile in getattr(image, "tile", []))


def _raw_mode(args: object) -> str:
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _netpbm_maximum(image: Image.Image) -> int:
    """The maximum sample value in a Netpbm header; 255 where Pillow does not keep it."""
    args = image.tile[0].args if image.tile else ()  # type: ignore[attr-defined]
    return int(args[1]) if isinstance(args, tuple) and len(args) > 1 and isinstance(args[1], int) else 255
