"""Lossless coding of an alpha plane: a filter as in PNG, then zlib.

The first byte names the filter: 0 none, 1 difference from the left, 2 difference from above.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from model.core.errors import DamagedPayload


def write(plane: NDArray[np.uint8]) -> bytes:
    """Encode a uint8 `[H, W]` plane with the filter that gives the fewest bytes."""
    left, above = plane.copy(), plane.copy()
    left[:, 1:] -= plane[:, :-1]
    above[1:] -= plane[:-1]
    return min((bytes([i]) + zlib.compress(p.tobytes(), 9) for i, p in enumerate((plane, left, above))), key=len)


def read(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """Decode a plane, uint8 `[H, W]`.

    Raises:
        DamagedPayload: when the bytes are not a plane of that size.
    """
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(data[1:], height * width + 1)
    except zlib.error:
        raw = b""
    whole = unpacker.eof and not unpacker.unused_data
    if len(raw) != height * width or data[0] > 2 or not whole:
        raise DamagedPayload("the payload's alpha plane is damaged")
    plane = np.frombuffer(raw, np.uint8).reshape(height, width)
    if data[0] == 0:
        return plane.copy()
    return np.cumsum(plane, axis=2 - data[0], dtype=np.uint8)
