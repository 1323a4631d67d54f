"""What an image cost and how near it came, on 8-bit RGB: the points that rate-distortion curves are made of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.metrics.ms_ssim import SMALLEST_MS_SSIM, ms_ssim
from model.metrics.psnr import psnr

Pixels = NDArray[np.uint8]
"""uint8 RGB `[H, W, 3]`."""
BEST_PSNR = 100.0
"""What an equal picture counts as: means and curves have no place for infinity."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a rate-distortion curve.

    Attributes:
        quality: the codec's own setting.
        bpp: bits of the whole file a pixel.
        psnr: dB, over all three 8-bit planes; at most `BEST_PSNR`.
        ms_ssim: 0..1 on RGB (Wang et al. 2003), or None for images too small for it.
    """

    quality: float
    bpp: float
    psnr: float
    ms_ssim: float | None


def compare(quality: float, size: int, original: Pixels, decoded: Pixels) -> Point:
    """Point of a file of `size` bytes that decodes `original` to `decoded`."""
    height, width = original.shape[:2]
    similarity = ms_ssim(original, decoded) if min(height, width) >= SMALLEST_MS_SSIM else None
    return Point(quality, 8 * size / (height * width), min(BEST_PSNR, psnr(original, decoded)), similarity)


def to_rgb(pixels: Pixels) -> Pixels:
    """Grey `[H, W, 1]` as RGB; RGB as it is."""
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
