"""A 64-bit perceptual hash, by which near duplicates are found: copies in another size, format or quality.

It is the usual hash by DCT, bit for bit that of `imagehash.phash` (tested against it): the picture as grey of 32 x 32
pixels, the 8 x 8 lowest frequencies of its DCT-II, and of each whether it is above their median. Two pictures are
compared by the number of bits that differ. A picture that is turned or mirrored has another hash.

Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010.
"""

import math

import numpy as np
from PIL import Image

BITS = 64
_SIDE, _LOW = 32, 8
_FLAT = 1e-3
"""Frequencies below this, of grey values 0..255, are rounding errors."""

# DCT-II without scaling, as scipy.fftpack.dct: rows are frequencies, columns positions.
_DCT = 2 * np.cos(np.outer(np.arange(_LOW), 2 * np.arange(_SIDE) + 1) * math.pi / (2 * _SIDE))


def perceptual_hash(image: Image.Image) -> int | None:
    """The hash of a picture as a signed integer of 64 bits, the first bit being the sign.

    Args:
        image: of any mode that Pillow converts to grey; alpha is left out.

    Returns:
        The hash; None for a picture that is flat, whose hash would be chance.
    """
    grey = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    low = _DCT @ np.asarray(grey, np.float64) @ _DCT.T
    low[np.abs(low) < _FLAT] = 0
    if not low.reshape(-1)[1:].any():
        return None
    bits = np.packbits((low > np.median(low)).reshape(-1))
    return int.from_bytes(bits.tobytes(), "big", signed=True)


def checked_hash(value: object) -> int | None:
    """A hash that a child process gave.

    Raises:
        ValueError: when it is none.
    """
    if value is None or (type(value) is int and -(1 << (BITS - 1)) <= value < 1 << (BITS - 1)):
        return value
    raise ValueError("no perceptual hash")
