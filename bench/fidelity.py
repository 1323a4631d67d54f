"""What an image cost and how near it came, on 8-bit RGB.

Measured by other code than the codec's own (`model.fidelity`): MS-SSIM is pytorch-msssim's.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_msssim import ms_ssim

from model.fidelity import SMALLEST_MS_SSIM


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a rate-distortion curve.

    Attributes:
        quality: the codec's setting.
        bpp: bits of the whole file a pixel.
        psnr: dB, over all three 8-bit planes.
        ms_ssim: 0..1 on RGB (Wang et al. 2003), or None for images too small for it.
    """

    quality: int
    bpp: float
    psnr: float
    ms_ssim: float | None


def compare(quality: int, size: int, original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> Point:
    """Point of a file of `size` bytes that decodes `original` to `decoded`, uint8 `[H, W, 3]` both."""
    height, width = original.shape[:2]
    error = float(np.mean((original.astype(np.float64) - decoded) ** 2))
    similarity = None
    if min(height, width) >= SMALLEST_MS_SSIM:
        a, b = (torch.tensor(x, dtype=torch.float32).permute(2, 0, 1)[None] for x in (original, decoded))
        similarity = float(ms_ssim(a, b, data_range=255))
    return Point(quality, 8 * size / (height * width), 10 * math.log10(255**2 / max(error, 1e-9)), similarity)
