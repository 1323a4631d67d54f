"""Points of rate-distortion curves: size and fidelity of one encoded image, on 8-bit RGB."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.metrics.ms_ssim import SMALLEST_MS_SSIM, ms_ssim
from model.metrics.psnr import psnr
from model.metrics.ssimulacra2 import ssimulacra2

Pixels = NDArray[np.uint8]
"""uint8 RGB `[H, W, 3]`."""
BEST_PSNR = 100.0
"""PSNR in dB of an identical picture: means and curves cannot use infinity."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a rate-distortion curve.

    Attributes:
        quality: the codec's quality setting.
        bpp: bits per pixel, of the whole file.
        psnr: dB, over all three 8-bit planes; at most `BEST_PSNR`.
        ms_ssim: 0..1 on RGB (Wang et al. 2003); None for images that are too small for it.
        ssimulacra2: points, at most 100 (`model.metrics.ssimulacra2`); None if it was not measured.
    """

    quality: float
    bpp: float
    psnr: float
    ms_ssim: float | None
    ssimulacra2: float | None = None


def compare(quality: float, size: int, original: Pixels, decoded: Pixels) -> Point:
    """The point of a file of `size` bytes, encoded from `original` and decoded to `decoded`."""
    height, width = original.shape[:2]
    similarity = ms_ssim(original, decoded) if min(height, width) >= SMALLEST_MS_SSIM else None
    bpp, fidelity = 8 * size / (height * width), min(BEST_PSNR, psnr(original, decoded))
    return Point(quality, bpp, fidelity, similarity, ssimulacra2(original, decoded))


def to_rgb(pixels: Pixels) -> Pixels:
    """Grey `[H, W, 1]` as RGB; RGB is returned unchanged."""
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
