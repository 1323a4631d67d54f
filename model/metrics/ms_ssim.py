"""MS-SSIM of two 8-bit pictures, computed strip by strip: memory stays bounded for images of any size."""

import functools
import math

import numpy as np
from numpy.typing import NDArray

from model.core.jit import Array, compiled

SMALLEST_MS_SSIM = 161
"""Shortest side in pixels for which MS-SSIM with its five scales is defined; smaller pictures are mirrored up to it."""
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_STRIP = 1 << 17
"""Number of pixels processed at a time."""
_KEPT = 2
"""The scale that is kept whole (1.5 bytes per pixel, for both images); the coarser scales are computed from it."""


def ms_ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Multi-scale structural similarity of two 8-bit images `[H, W, C]`, 0..1, mean over the planes.

    Wang, Simoncelli and Bovik 2003, with the constants, window and borders of the common PyTorch
    packages. The result equals theirs, but is computed strip by strip, with 1.5 bytes of memory per
    pixel. Pictures with a side below `SMALLEST_MS_SSIM` are mirrored up to that size first.
    """
    if min(a.shape[:2]) < SMALLEST_MS_SSIM:
        extra = [(0, max(0, SMALLEST_MS_SSIM - n)) for n in a.shape[:2]]
        a, b = (np.pad(x, (*extra, (0, 0)), mode="symmetric") for x in (a, b))
    pyramid = _Pyramid(a, b)
    product = np.ones(a.shape[2])
    for level, weight in enumerate(_WEIGHTS):
        contrast, whole = pyramid.measure(level)
        product *= np.maximum(whole if level == len(_WEIGHTS) - 1 else contrast, 0) ** weight
    return float(product.mean())


def decibels(similarity: float) -> float:
    """MS-SSIM in dB, -10 log10(1 - x): a scale that is nearly linear in visible differences, comparable to PSNR."""
    return -10 * math.log10(max(1 - similarity, 1e-9))


class _Pyramid:
    """Rows of two images, float32 `[2, C, rows, W]`, at scales 1, 1/2, 1/4 ..., computed on demand."""

    def __init__(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> None:
        self._pair = (a, b)
        self._sizes = [a.shape[:2]]
        for _ in _WEIGHTS[1:]:
            h, w = self._sizes[-1]
            self._sizes.append(((h + 1) // 2, (w + 1) // 2))
        window = np.exp(-((np.arange(_WINDOW) - _WINDOW // 2) ** 2) / (2 * _SIGMA**2))
        self._window = (window / window.sum()).astype(np.float32)

    def measure(self, level: int) -> NDArray[np.float64]:
        """Mean contrast-structure and mean similarity over a scale, `[2, C]`."""
        height, width = self._sizes[level]
        rows, valid = self._at_once(level), height - _WINDOW + 1
        sums: NDArray[np.float64] = np.zeros((2, self._pair[0].shape[2]))
        for top in range(0, valid, rows):
            a, b = self.rows(level, top, min(top + rows, valid) + _WINDOW - 1)
            for plane in range(len(a)):
                _add_similarity(a[plane], b[plane], self._window, sums[:, plane])
        sums /= valid * (width - _WINDOW + 1)
        return sums

    def rows(self, level: int, top: int, bottom: int) -> NDArray[np.float32]:
        """Rows of a scale."""
        return self._kept[:, :, top:bottom] if level == _KEPT else self._made(level, top, bottom)

    @functools.cached_property
    def _kept(self) -> NDArray[np.float32]:
        height, rows = self._sizes[_KEPT][0], self._at_once(_KEPT)
        return np.concatenate([self._made(_KEPT, top, min(top + rows, height)) for top in range(0, height, rows)], 2)

    def _at_once(self, level: int) -> int:
        """Number of rows of a scale that are processed at a time."""
        width: int = self._sizes[0][1]
        return max(_WINDOW, (_STRIP >> 2 * level) // width << level)

    def _made(self, level: int, top: int, bottom: int) -> NDArray[np.float32]:
        """Rows as 2x2 means of the scale before; odd sides get a border of zeros, as in the PyTorch packages."""
        if level == 0:
            return np.stack([x[top:bottom].transpose(2, 0, 1) for x in self._pair], dtype=np.float32)
        height, width = self._sizes[level - 1]
        odd = height % 2
        begin, end = 2 * top - odd, 2 * bottom - odd
        inside = max(begin, 0), min(end, height)
        border = ((max(0, -begin), max(0, end - height)), (width % 2, width % 2))
        out = np.empty((2, self._pair[0].shape[2], bottom - top, self._sizes[level][1]), np.float32)
        if level == 1:  # 8-bit pixels, a quarter of the memory of float32
            above = [x[slice(*inside)].transpose(2, 0, 1) for x in self._pair]
        else:
            above = list(self.rows(level - 1, *inside))
        for planes, half in zip(above, out, strict=True):
            _halve(np.pad(planes, ((0, 0), *border)) if np.any(border) else planes, half)
        return out


@compiled
def _halve(x: Array, out: Array) -> None:
    """Write 2x2 means of `[N, 2 H, 2 W]` to `out`, float32 `[N, H, W]`."""
    for n in range(out.shape[0]):
        for r in range(out.shape[1]):
            upper, lower, row = x[n, 2 * r], x[n, 2 * r + 1], out[n, r]
            even, odd = upper[0::2], upper[1::2]
            even_below, odd_below = lower[0::2], lower[1::2]
            for c in range(len(row)):
                row[c] = np.float32(0.25) * np.float32(even[c] + odd[c] + even_below[c] + odd_below[c])


@compiled
def _add_similarity(a: Array, b: Array, window: Array, sums: Array) -> None:
    """Add a plane's contrast-structure and similarity, summed over positions, to `sums`, float64 `[2]`.

    Each row is blurred horizontally once, and vertically over the last eleven rows, so that the data
    in use fits the first-level caches. Loads and stores dominate the time, so the two rows or columns
    that share a weight of the symmetric window are added first. Compilers vectorise slices indexed by
    the loop, but not sums, so each column has its own sum.

    Args:
        a: float32 `[H, W]`.
        b: the same.
        window: Gaussian weights, float32 `[11]`.
        sums: output.
    """
    taps, middle, width = len(window), len(window) // 2, a.shape[1] - len(window) + 1
    blurred = np.zeros((taps, 4, width), np.float32)
    values = np.zeros((4, a.shape[1]), np.float32)
    maps = np.zeros((4, width), np.float32)
    contrasts, wholes = np.zeros(width, np.float32), np.zeros(width, np.float32)
    c1, c2, two = np.float32(_C1), np.float32(_C2), np.float32(2)
    for r in range(a.shape[0]):
        row_a, row_b = a[r], b[r]
        for x in range(a.shape[1]):
            values[0, x], values[1, x] = row_a[x], row_b[x]
            values[2, x], values[3, x] = row_a[x] * row_a[x] + row_b[x] * row_b[x], row_a[x] * row_b[x]
        for m in range(4):
            row, out = values[m], blurred[r % taps, m]
            weight, centre = window[middle], row[middle : middle + width]
            for x in range(width):
                out[x] = weight * centre[x]
            for t in range(middle):
                weight, one, other = window[t], row[t : t + width], row[taps - 1 - t : taps - 1 - t + width]
                for x in range(width):
                    out[x] += weight * (one[x] + other[x])
        if r < taps - 1:
            continue
        for m in range(4):
            out, weight, centre = maps[m], window[middle], blurred[(r + 1 + middle) % taps, m]
            for x in range(width):
                out[x] = weight * centre[x]
            for t in range(middle):
                weight, one, other = window[t], blurred[(r + 1 + t) % taps, m], blurred[(r - t) % taps, m]
                for x in range(width):
                    out[x] += weight * (one[x] + other[x])
        mean_a, mean_b, both, ab = maps[0], maps[1], maps[2], maps[3]
        for x in range(width):
            product = mean_a[x] * mean_b[x]
            of_means = mean_a[x] * mean_a[x] + mean_b[x] * mean_b[x]
            contrast = (two * (ab[x] - product) + c2) / (both[x] - of_means + c2)
            contrasts[x] += contrast
            wholes[x] += contrast * (two * product + c1) / (of_means + c1)
    for x in range(width):
        sums[0] += contrasts[x]
        sums[1] += wholes[x]
