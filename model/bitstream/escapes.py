"""Escapes: symbols beyond the range of their table.

Two kinds share one list: a symbol that is not zero although its scale index is 0 ("not coded"), and
a symbol beyond its table's limit. The list has the position of each in scan order (as a difference
from the one before) and its value, so that no symbol is ever clipped. About one symbol in ten
thousand is an escape.

    first byte 0, then for each escape: varint(gap), varint(zigzag(value))
    first byte 1, then the same under zlib, when that is smaller
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from model.core.errors import DamagedPayload, UnsupportedImage

MAX_SYMBOL = (1 << 30) - 1
"""Largest absolute value of a symbol."""


def most_bytes(size: int) -> int:
    """Longest list, unpacked, of an image of `size` symbols: an eighth of them.

    A reader needs some forty times this memory. Without this limit, the kilobytes to which zlib
    packs a list of every symbol would expand to hundreds of bytes per pixel.
    """
    return (1 << 16) + size // 4


def write(positions: NDArray[np.int64], values: NDArray[np.int32], size: int) -> bytes:
    """Encode a list of escapes; no bytes for an empty list.

    Args:
        positions: ascending positions in the flattened symbols.
        values: the symbols there.
        size: number of symbols of the image.

    Raises:
        UnsupportedImage: when the list is longer than a reader accepts.
    """
    if positions.size == 0:
        return b""
    gaps = np.diff(positions, prepend=0)
    zigzag = values.astype(np.int64) * 2 ^ values.astype(np.int64) >> 63
    plain = _varints(np.stack([gaps, zigzag], 1).reshape(-1))
    if len(plain) > most_bytes(size):
        raise UnsupportedImage("the image is too unlike what this model was trained on: keep its source bytes instead")
    packed = zlib.compress(plain, 9)
    return b"\x01" + packed if len(packed) < len(plain) else b"\x00" + plain


def read(data: bytes, size: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Decode positions and values; `size` is the number of symbols of the image.

    Raises:
        DamagedPayload: when the bytes are not a list of escapes of an image of that size.
    """
    if not data:
        return np.empty(0, np.int64), np.empty(0, np.int32)
    plain = data[1:]
    if data[0] == 1:
        unpacker = zlib.decompressobj()
        try:
            plain = unpacker.decompress(plain, most_bytes(size) + 1)
        except zlib.error:
            raise DamagedPayload("the payload's escape codes are damaged") from None
        if not unpacker.eof or unpacker.unused_data:
            raise DamagedPayload("the payload's escape codes are damaged")
    if len(plain) > most_bytes(size):
        raise DamagedPayload("the payload's escape codes are damaged")
    numbers = _read_varints(plain)
    if data[0] > 1 or numbers.size % 2 or numbers.size == 0:
        raise DamagedPayload("the payload's escape codes are damaged")
    gaps, zigzag = numbers.reshape(-1, 2).T
    values = zigzag >> 1 ^ -(zigzag & 1)
    if gaps.max() > size or np.abs(values).max() > MAX_SYMBOL or (gaps[1:] < 1).any():
        raise DamagedPayload("the payload's escape codes are damaged")
    positions = np.cumsum(gaps)
    if positions[-1] >= size:
        raise DamagedPayload("the payload's escape codes are damaged")
    return positions, values.astype(np.int32)


def _varints(numbers: NDArray[np.int64]) -> bytes:
    """LEB128 of each number, vectorised over the (at most five) bytes of a number."""
    shifts = 7 * np.arange(5)
    groups = numbers[:, None] >> shifts & 127
    more = (numbers[:, None] >> shifts + 7) > 0
    used = np.concatenate([np.ones((numbers.size, 1), bool), more[:, :-1]], 1)
    return bytes((groups | more * 128).astype(np.uint8)[used].tobytes())


def _read_varints(data: bytes) -> NDArray[np.int64]:
    raw = np.frombuffer(data, np.uint8).astype(np.int64)
    last = raw < 128
    if raw.size == 0 or not last[-1]:
        raise DamagedPayload("the payload's escape codes are damaged")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    within = np.arange(raw.size) - np.repeat(starts, ends - starts + 1)
    if within.max() > 4 or ((raw == 0) & (within > 0)).any():  # too long, or not in the shortest form
        raise DamagedPayload("the payload's escape codes are damaged")
    return np.add.reduceat((raw & 127) << 7 * within, starts)
