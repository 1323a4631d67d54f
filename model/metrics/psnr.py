"""PSNR of two 8-bit pictures, exact, computed strip by strip."""

import math

import numpy as np
from numpy.typing import NDArray

_STRIP = 1 << 17
"""Number of values processed at a time."""


def squared_error(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    """Sum of squared differences, exact.

    Args:
        a: 8-bit image `[H, W, C]`.
        b: another of the same shape.
    """
    total, rows = 0, max(1, _STRIP // max(1, a[0].size))
    for top in range(0, a.shape[0], rows):
        difference = np.subtract(a[top : top + rows], b[top : top + rows], dtype=np.float64)
        lines = difference.reshape(len(difference), -1)
        total += int(np.vecdot(lines, lines).sum())  # one long `dot` would wake BLAS threads, which then spin
    return total


def to_psnr(squared: float, count: int) -> float:
    """Peak signal-to-noise ratio in dB of a sum of squared differences over `count` 8-bit values; infinite for 0."""
    return math.inf if squared == 0 else 10 * math.log10(255**2 * count / squared)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB over all planes of two 8-bit images `[H, W, C]`; infinite for equal images."""
    return to_psnr(squared_error(a, b), a.size)
