"""How near one 8-bit picture is to another: PSNR and MS-SSIM, in pieces, for images of any size."""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.compiled import Array, compiled

SMALLEST_MS_SSIM = 161
"""Side in pixels from which MS-SSIM with its five scales is defined; smaller pictures are mirrored up to it."""
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_STRIP = 1 << 17
"""Pixels that are looked at together."""
_KEPT = 2
"""The scale that is kept whole, 1.5 bytes a pixel of the two images; the coarser ones are made from it."""


def squared_error(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    """Sum of squared differences, exact, of two 8-bit arrays of one shape `[H, W, C]`."""
    total, rows = 0, max(1, _STRIP // max(1, a[0].size))
    for top in range(0, a.shape[0], rows):
        difference = np.subtract(a[top : top + rows], b[top : top + rows], dtype=np.float64)
        lines = difference.reshape(len(difference), -1)
        total += int(np.vecdot(lines, lines).sum())  # one long `dot` would wake threads of BLAS, which then spin
    return total


def to_psnr(squared: float, count: int) -> float:
    """Peak signal-to-noise ratio in dB for a sum of squared differences over `count` values; infinite for none."""
    return math.inf if squared == 0 else 10 * math.log10(255**2 * count / squared)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB over all planes of two 8-bit images `[H, W, C]`; infinite when equal."""
    return to_psnr(squared_error(a, b), a.size)


def ms_ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Multi-scale structural similarity of two 8-bit images `[H, W, C]`, 0..1, mean over the planes.

    Wang, Simoncelli and Bovik 2003, with the constants, window and borders that the field's PyTorch packages share;
    the same number as theirs, but strip by strip: it keeps 1.5 bytes a pixel. Pictures with a side
    under `SMALLEST_MS_SSIM` are mirrored to that size first.
    """
    if min(a.shape[:2]) < SMALLEST_MS_SSIM:
        extra = [(0, max(0, SMALLEST_MS_SSIM - n)) for n in a.shape[:2]]
        a, b = (np.pad(x, (*extra, (0, 0)), mode="symmetric") for x in (a, b))
    pyramid = _Pyramid(a, b)
    product = torch.ones(a.shape[2], dtype=torch.float64)
    for level, weight in enumerate(_WEIGHTS):
        contrast, whole = pyramid.measure(level)
        product *= (whole if level == len(_WEIGHTS) - 1 else contrast).clamp(min=0) ** weight
    return float(product.mean())


def decibels(similarity: float) -> float:
    """MS-SSIM on a scale that is nearly linear in what is seen and runs alongside PSNR: -10 log10(1 - x)."""
    return -10 * math.log10(max(1 - similarity, 1e-9))


class _Pyramid:
    """Two images, `[2, C, rows, W]` in float32, at scales 1, 1/2, 1/4 ...; any rows of any of them."""

    def __init__(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> None:
        self._pair = (a, b)
        self._sizes = [a.shape[:2]]
        for _ in _WEIGHTS[1:]:
            h, w = self._sizes[-1]
            self._sizes.append(((h + 1) // 2, (w + 1) // 2))
        window = torch.exp(-((torch.arange(_WINDOW) - _WINDOW // 2) ** 2) / (2 * _SIGMA**2))
        self._window = (window / window.sum()).numpy()

    def measure(self, level: int) -> tuple[Tensor, Tensor]:
        """Means over a scale of contrast-structure and of the whole similarity, each float64 `[C]`."""
        height, width = self._sizes[level]
        rows, valid = self._at_once(level), height - _WINDOW + 1
        sums = torch.zeros(2, self._pair[0].shape[2], dtype=torch.float64)
        for top in range(0, valid, rows):
            a, b = self.rows(level, top, min(top + rows, valid) + _WINDOW - 1)
            sums += torch.stack(self._similarity(a, b))
        contrast, whole = sums / (valid * (width - _WINDOW + 1))
        return contrast, whole

    def rows(self, level: int, top: int, bottom: int) -> Tensor:
        """Rows of a scale."""
        return self._kept[:, :, top:bottom] if level == _KEPT else self._made(level, top, bottom)

    @functools.cached_property
    def _kept(self) -> Tensor:
        height, rows = self._sizes[_KEPT][0], self._at_once(_KEPT)
        return torch.cat([self._made(_KEPT, top, min(top + rows, height)) for top in range(0, height, rows)], 2)

    def _at_once(self, level: int) -> int:
        """Rows of a scale that are looked at together."""
        width: int = self._sizes[0][1]
        return max(_WINDOW, (_STRIP >> 2 * level) // width << level)

    def _made(self, level: int, top: int, bottom: int) -> Tensor:
        """Rows as 2x2 means of the scale before; odd sides get a border of zeros, as the packages of the field do."""
        if level == 0:
            pair = np.stack([x[top:bottom] for x in self._pair])
            return torch.from_numpy(pair).permute(0, 3, 1, 2).contiguous().to(torch.float32)
        height, width = self._sizes[level - 1]
        odd = height % 2
        begin, end = 2 * top - odd, 2 * bottom - odd
        above = self.rows(level - 1, max(begin, 0), min(end, height))
        border = (width % 2, width % 2, max(0, -begin), max(0, end - height))
        padded = F.pad(above, border) if any(border) else above.contiguous()
        out = torch.empty(*padded.shape[:2], padded.shape[2] // 2, padded.shape[3] // 2)
        _halve(padded.flatten(0, 1).numpy(), out.flatten(0, 1).numpy())
        return out

    def _similarity(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over positions, float64 `[C]`."""
        sums = torch.zeros(2, len(a), dtype=torch.float64)
        for plane in range(len(a)):
            pair = (np.ascontiguousarray(x[plane].numpy()) for x in (a, b))
            _add_similarity(*pair, self._window, sums[:, plane].numpy())
        return sums[0], sums[1]


@compiled
def _halve(x: Array, out: Array) -> None:
    """2x2 means, float32 `[N, 2 H, 2 W]` to `[N, H, W]`."""
    for n in range(out.shape[0]):
        for r in range(out.shape[1]):
            upper, lower, row = x[n, 2 * r], x[n, 2 * r + 1], out[n, r]
            even, odd = upper[0::2], upper[1::2]
            even_below, odd_below = lower[0::2], lower[1::2]
            for c in range(len(row)):
                row[c] = np.float32(0.25) * (even[c] + odd[c] + even_below[c] + odd_below[c])


@compiled
def _add_similarity(a: Array, b: Array, window: Array, sums: Array) -> None:
    """Add a plane's contrast-structure and whole similarity, summed over positions, to `sums`, float64 `[2]`.

    Rows are blurred along themselves once, and down the last eleven of them: what is in work fits the nearest cache.

    Args:
        a: float32 `[H, W]`.
        b: the same.
        window: weights of the Gaussian, float32 `[11]`.
        sums: added to.
    """
    taps, width = len(window), a.shape[1] - len(window) + 1
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
            out = blurred[r % taps, m]
            out[:] = 0
            for t in range(taps):  # slices: a compiler vectorises what the loop itself indexes
                weight, shifted = window[t], values[m, t : t + width]
                for x in range(width):
                    out[x] += weight * shifted[x]
        if r < taps - 1:
            continue
        maps[:] = 0
        for t in range(taps):
            for m in range(4):
                weight, out, line = window[t], maps[m], blurred[(r + 1 + t) % taps, m]
                for x in range(width):
                    out[x] += weight * line[x]
        mean_a, mean_b, both, ab = maps[0], maps[1], maps[2], maps[3]
        for x in range(width):
            product = mean_a[x] * mean_b[x]
            of_means = mean_a[x] * mean_a[x] + mean_b[x] * mean_b[x]
            contrast = (two * (ab[x] - product) + c2) / (both[x] - of_means + c2)
            contrasts[x] = contrast
            wholes[x] = contrast * (two * product + c1) / (of_means + c1)
        sums[0] += contrasts.sum()
        sums[1] += wholes.sum()
