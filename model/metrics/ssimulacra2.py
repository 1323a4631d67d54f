"""SSIMULACRA2 of two 8-bit pictures, computed in strips: memory stays bounded for images of any height.

By Jon Sneyers (Cloudinary, 2022; version 2.1 of 2023). Both pictures are converted to XYB, the
colour space of JPEG XL, at scales 1, 1/2, 1/4 ... of linear light. Each scale and plane has three
error maps (structure, added artefacts, lost detail), each with a mean and a 4-norm. The 108 numbers
are weighted by how people judged pictures, and their sum is mapped to a score. 100 is an equal
picture, 90 can hardly be told apart, 70 is good, 50 is fair, 10 is bad; scores may be negative.

The scores are those of the Python package `ssimulacra2` (weights and constants as there, BSD-3);
libjxl's differ a little (`docs/decisions/0061-ssimulacra2-as-the-python-package.md`).
"""

import functools
import math

import numpy as np
from numpy.typing import NDArray

from model.metrics.ssimulacra2_kernels import RADIUS, add_errors, blur_along, halve, linearise, to_xyb
from model.metrics.ssimulacra2_weights import SCALES, WEIGHTS

SMALLEST_SSIMULACRA2 = 113
"""Side in pixels from which each scale with a weight has eight pixels; smaller pictures are mirrored up to it.

The reference drops scales below eight pixels (sides below 225), and the remaining weights then
apply to the wrong norms: one photograph as JPEG of quality 90 scores 85 at 225 pixels, 21 at 64
pixels, and 100 below eight pixels, where every picture does.
"""
_NEGLIGIBLE = 0.01
"""Planes of a scale whose six weights add up to less are skipped: 7 of 18, among them two of the three at full size.

Weights are 0 to 225; skipping changes the score by less than 0.001.
"""
_STRIP = 1 << 15
"""Number of pixels processed at a time: they fit the nearer caches."""
_WINDOW = np.exp(-(np.arange(-RADIUS, RADIUS + 1) ** 2) / (2 * 1.5**2))
_WINDOW = (_WINDOW / _WINDOW.sum())[RADIUS:].astype(np.float32)
_MIXING = np.array(
    [[0.30, 0.622, 0.078], [0.23, 0.692, 0.078], [0.24342268924547819, 0.20476744424496821, 0.5518098665095536]],
    np.float32,
)
"""Response of three kinds of cones to linear red, green and blue."""
_OUTSIDE = np.array([-0.36, -0.42, -0.55], np.float32)
"""The reference's zero for Y, X and B, which it shifts to positive values.

Errors depend on differences alone, and float32 has more digits near 0.
"""
_CURVE = (2.326765642916932, -0.020884521182843837, 6.248496625763138e-05)
_GAIN, _EXPONENT = 0.9562382616834844, 0.6276336467831387
_NEAREST = 0.01
"""Distance from 100 that counts as equal on the scale of decibels."""


def ssimulacra2(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """SSIMULACRA2 of a copy: 100 for an equal one, without a lower limit.

    The result does not depend on the height of the strips, and the memory depends on the width
    alone. Pictures with a side below `SMALLEST_SSIMULACRA2` are mirrored up to that size first.

    Args:
        a: the original, sRGB or grey, uint8 `[H, W, 3]` or `[H, W, 1]`.
        b: the copy, of the same shape.
    """
    height, width = (max(side, SMALLEST_SSIMULACRA2) for side in a.shape[:2])
    at_once = max(1, _STRIP // width >> SCALES - 1) << SCALES - 1  # whole rows at every scale
    scales = [_Scale(height, width, a.shape[2], level, at_once) for level in range(SCALES)]
    for top in range(0, height, at_once):
        linear = np.empty((2, a.shape[2], min(at_once, height - top), width), np.float32)
        for image, out in zip((a, b), linear, strict=True):
            linearise(_strip(image, top, top + at_once), _linear_light(), out)
        for scale in scales:
            linear = scale.add(linear)
    return _score(sum(scale.error() for scale in scales))


def decibels(score: float) -> float:
    """A score in dB, -10 log10 of its distance from 100: a scale that rises with the quality about as PSNR does."""
    return -10 * math.log10(max(100 - score, _NEAREST))


def _strip(image: NDArray[np.uint8], top: int, bottom: int) -> NDArray[np.uint8]:
    """Rows of an image after mirroring."""
    height, width = image.shape[:2]
    rows = image[top:bottom] if height >= SMALLEST_SSIMULACRA2 else image[_mirrored(height)[top:bottom]]
    return np.ascontiguousarray(rows if width >= SMALLEST_SSIMULACRA2 else rows[:, _mirrored(width)])


def _mirrored(side: int) -> NDArray[np.intp]:
    """Indices into a short side, back and forth until there are `SMALLEST_SSIMULACRA2`."""
    return np.pad(np.arange(side), (0, SMALLEST_SSIMULACRA2 - side), mode="symmetric")


@functools.cache
def _linear_light() -> NDArray[np.float32]:
    """Linear light 0..1 of the 256 values of sRGB."""
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _score(error: float) -> float:
    """Map the weighted error to a score."""
    x = error * _GAIN
    x = _CURVE[0] * x + _CURVE[1] * x**2 + _CURVE[2] * x**3
    return 100 - 10 * x**_EXPONENT if x > 0 else 100.0


class _Scale:
    """Errors of one scale of a pair of pictures, collected from top to bottom."""

    def __init__(self, height: int, width: int, channels: int, level: int, at_once: int) -> None:
        """Start without rows.

        Args:
            height: of the pictures at full size.
            width: of the pictures at full size.
            channels: 1 or 3.
            level: 0 for full size, 1 for half ...
            at_once: largest number of rows of full size per call, a multiple of 2^level.
        """
        self._height, self._width = -(-height >> level), -(-width >> level)
        weights = WEIGHTS[: 1 if channels == 1 else 3, level].reshape(-1, 6)
        relevant = np.flatnonzero(weights.sum(1) >= _NEGLIGIBLE)
        self._weights = weights[: relevant.max(initial=-1) + 1]
        planes, depth = len(self._weights), (at_once >> level) + 2 * RADIUS
        self._received = self._summed = 0
        self._rings = np.zeros((planes, 6, depth, self._width), np.float32)
        self._partial = np.zeros((planes, 6, self._width), np.float32)
        self._sums = np.zeros((planes, 6, self._width), np.float64)

    def add(self, linear: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add the next rows of linear light, float32 `[2, C, n, W]`; returns them at half the size."""
        rows, planes = linear.shape[2], len(self._rings)
        if planes:
            xyb = np.empty((2, planes, rows, self._width), np.float32)
            for image, out in zip(linear, xyb, strict=True):
                to_xyb(image, _MIXING, out)
            bottom = self._received + rows
            complete = self._height if bottom == self._height else max(0, bottom - RADIUS)
            for plane, (ring, partial, sums) in enumerate(zip(self._rings, self._partial, self._sums, strict=True)):
                blur_along(xyb[0, plane], xyb[1, plane], self._received, _OUTSIDE[plane], _WINDOW, ring)
                add_errors(self._summed, complete, self._height, _WINDOW, ring, partial, sums)
            self._received, self._summed = bottom, complete
        half = np.empty((2, linear.shape[1], -(-rows // 2), -(-self._width // 2)), np.float32)
        for image, out in zip(linear, half, strict=True):
            halve(image, out)
        return half

    def error(self) -> float:
        """Weighted sum of the norms, after all rows were added."""
        means = self._sums.sum(2).reshape(-1, 3, 2) / (self._height * self._width)
        norms = np.stack([means[..., 0], means[..., 1] ** 0.25], axis=1)
        return float((norms.reshape(-1, 6) * self._weights).sum())
