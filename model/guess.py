"""Where a search for a quality begins: what a sample of an image's latents tells of its size and fidelity. No torch.

As if the transform were orthonormal and all means zero: the error is that of rounding the sample, the bits are those of
its logarithms, and MS-SSIM's loss is the error of each place over its contrast, `error / (2 variance + C2)` (Wang et
al. 2003, with equal means). How far the truth lies from that changes slowly with the quality and is tabulated, as the
median over photographs: `python -m bench.guess` prints the tables. They only save trials; what holds is measured.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.config import LATENT_STRIDE, QUALITIES

VALUES = 3 * LATENT_STRIDE**2
"""Samples of the image, three a pixel, that a place of latents stands for."""
C2 = 0.001
"""Constant of SSIM's contrast and structure, for values 0..1: 0.03^2, rounded."""
LOCAL_MEANS = 3
"""First so many latents of a place are its means, not its contrast."""
ROUNDED_UP_FROM = 0.6
AT = (4, 12, 20, 28, 36, 44, 52, 60)
"""Qualities of the tables."""
PSNR_ABOVE = (5.36, 6.34, 7.00, 7.41, 7.44, 7.26, 6.57, 4.10)
"""dB by which PSNR lies above the estimate."""
MS_SSIM_ABOVE = (4.36, 5.60, 6.86, 7.94, 8.74, 9.51, 9.97, 9.27)
"""dB (`model.fidelity.decibels`) by which MS-SSIM lies above the estimate."""
BYTES_TIMES = (1.80, 2.02, 2.30, 2.47, 2.57, 2.53, 2.42, 2.28)
"""Bytes of a payload for each byte of the estimate."""
LEAST_BYTES = 80
"""Of the smallest payload."""


@dataclass(frozen=True, eq=False, slots=True)
class Guess:
    """Of an image at every quality, float `[QUALITIES]`, rising: `psnr` and `ms_ssim` in dB, `bytes` a pixel."""

    psnr: NDArray[np.float64]
    ms_ssim: NDArray[np.float64]
    bytes: NDArray[np.float64]


def estimate(sample: NDArray[np.float32], gains: NDArray[np.float32]) -> Guess:
    """The bare estimate.

    Args:
        sample: latents of some places, float `[n, M]`.
        gains: quantisation steps a unit of them at every quality, float `[QUALITIES, M]`.
    """
    variance = np.square(sample[:, LOCAL_MEANS:]).sum(1) / VALUES
    rounding = 1 / (12 * 255**2)  # of the output to 8 bits
    error, loss, bits = [], [], []
    for gain in gains:
        scaled = np.abs(sample * gain)
        missed = (scaled - np.floor(scaled + 1 - ROUNDED_UP_FROM)) / gain
        errors = np.square(missed).sum(1) / VALUES + rounding
        error.append(float(errors.mean()))
        loss.append(float((errors / (2 * variance + C2)).mean()))
        bits.append(float(np.log2(1 + 2 * np.square(scaled)).sum(1).mean()) / 2 / LATENT_STRIDE**2)
    return Guess(_rising(-10 * np.log10(error)), _rising(-10 * np.log10(loss)), _rising(np.array(bits) / 8))


def guess(sample: NDArray[np.float32], gains: NDArray[np.float32]) -> Guess:
    """The estimate, put right by the tables; arguments as for `estimate`."""
    bare = estimate(sample, gains)
    return Guess(
        _rising(bare.psnr + _at_every_quality(PSNR_ABOVE)),
        _rising(bare.ms_ssim + _at_every_quality(MS_SSIM_ABOVE)),
        _rising(bare.bytes * _at_every_quality(BYTES_TIMES)),
    )


def _at_every_quality(table: tuple[float, ...]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.interp(np.arange(QUALITIES), AT, table)
    return values


def _rising(values: NDArray[np.float64]) -> NDArray[np.float64]:
    rising: NDArray[np.float64] = np.maximum.accumulate(values)
    return rising
