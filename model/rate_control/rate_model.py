"""Prediction of an image's size and fidelity at every quality, from sampled latents and past trials. No torch.

A bare estimate treats the transform as orthonormal and all means as zero: the error is that of
rounding the sample, the bits follow from the logarithms of its values, and the loss of MS-SSIM is
the error of each block relative to its contrast, `error / (2 variance + C2)` (Wang et al. 2003,
with equal means). Over photographs, the difference of the true curve from this estimate is
approximately normally distributed and smooth in the quality: `python -m bench.guess` computes its
mean and covariance at some qualities (knots). The distribution is conditioned on features of the
image, above all on its projection error, which bounds its fidelity
(`model.inference.projection_error`), and on the values measured in trials. The prediction only
saves trials; the result is always measured.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bitstream.container import FRACTIONS
from model.core.config import BLOCK_VALUES, LATENT_STRIDE, QUALITIES
from model.inference.latent_sample import LatentSample
from model.rate_control.quality_search import QUALITY_STEPS, at_every_step

C2 = 0.001
"""Constant of SSIM's contrast and structure, for values 0..1: 0.03^2, rounded."""
LOCAL_MEANS = 3
"""Number of first channels that hold the mean of a block, not its contrast."""
ROUNDED_UP_FROM = 0.6
"""Fraction from which the estimate rounds up, in place of the encoder's thresholds."""
LEAST_BYTES = 80
"""Bytes of a payload beside its symbols, in the estimate: header, states of the coder, checksums."""
KNOTS = (0, 4, 12, 20, 28, 36, 44, 52, 60, QUALITIES - 1 / FRACTIONS)
"""Qualities at which the differences are modelled; linear in between."""
FEATURES_AT = (20, 44)
"""Qualities whose estimated PSNR and MS-SSIM are features of the image; so is the ratio of the bytes at the first
quality to those at the highest step, as a logarithm."""
FEATURES = 7
"""Number of features: those five, and two ceilings."""
FARTHEST = 6.0
"""Mahalanobis distance from the photographs beyond which an image counts as one at that distance: what holds for
photographs says nothing about it."""
SMALLEST_PROJECTION_ERROR = 1e-6
"""Projection errors below this (60 dB) do not matter."""
MEASURES = ("psnr", "ms_ssim", "ssimulacra2", "bytes")
PRIORS = Path(__file__).parents[1] / "weights" / "guess.json"
_ESTIMATED_AT = [*range(0, QUALITIES, 4), QUALITIES - 1]
"""Qualities at which estimates are computed; linear in between."""
_NOISE = {"psnr": 0.02, "ms_ssim": 0.02, "ssimulacra2": 0.02, "bytes": 0.004}
"""Standard deviation of the error of interpolating between knots, in the units of the measure."""

Curve = NDArray[np.float64]
"""A value at every step, `[QUALITY_STEPS]`."""


@dataclass(frozen=True, eq=False, slots=True)
class CurveEstimate:
    """Estimated curves of an image, float `[QUALITY_STEPS]` each, rising.

    Attributes:
        psnr: in dB.
        ms_ssim: in dB.
        log_bytes: natural logarithm of the size in bytes.
        ceilings: highest PSNR in dB that the projection error allows, in all colours and in luma,
            float `[2]`.
    """

    psnr: Curve
    ms_ssim: Curve
    log_bytes: Curve
    ceilings: NDArray[np.float64]

    def features(self) -> NDArray[np.float64]:
        """Features of the image, `[FEATURES]`."""
        at = [quality * FRACTIONS for quality in FEATURES_AT]
        size = self.log_bytes[at[0]] - self.log_bytes[-1]
        return np.array([*self.psnr[at], *self.ms_ssim[at], size, *self.ceilings])

    def of(self, measure: str) -> Curve:
        """The curve of one of `MEASURES`.

        SSIMULACRA2 has none: its slope varies less from image to image than that of any estimate, so
        that the features alone predict it better.
        """
        if measure == "ssimulacra2":
            return np.zeros_like(self.psnr)
        curves = {"psnr": self.psnr, "ms_ssim": self.ms_ssim, "bytes": self.log_bytes}
        return curves[measure]


def estimate_curves(sample: LatentSample, gains: NDArray[np.float32], pixels: int) -> CurveEstimate:
    """Compute the bare estimate.

    Args:
        sample: latents at some positions of the image.
        gains: quantisation steps per unit of y at every quality, float `[QUALITIES, M]`.
        pixels: number of pixels of the image.
    """
    variance = np.square(sample.latents[:, LOCAL_MEANS:]).sum(1) / BLOCK_VALUES
    rounding = 1 / (12 * 255**2)  # of the output to 8 bits
    error, loss, bits = [], [], []
    for gain in gains[_ESTIMATED_AT]:
        scaled = np.abs(sample.latents * gain)
        missed = (scaled - np.floor(scaled + 1 - ROUNDED_UP_FROM)) / gain
        errors = np.square(missed).sum(1) / BLOCK_VALUES + rounding
        error.append(float(errors.mean()))
        loss.append(float((errors / (2 * variance + C2)).mean()))
        bits.append(float(np.log2(1 + 2 * np.square(scaled)).sum(1).mean()) / 2 / LATENT_STRIDE**2)
    size = np.log(LEAST_BYTES + np.array(bits) / 8 * pixels)
    ceilings = -10 * np.log10(sample.projection_error.mean(0, dtype=np.float64) + SMALLEST_PROJECTION_ERROR)
    return CurveEstimate(_curve(-10 * np.log10(error)), _curve(-10 * np.log10(loss)), _curve(size), ceilings)


def _curve(values: NDArray[np.float64]) -> Curve:
    """A rising curve through the values at `_ESTIMATED_AT`."""
    every_quality = np.interp(np.arange(QUALITIES), _ESTIMATED_AT, values)
    return at_every_step(np.maximum.accumulate(every_quality))


@dataclass(frozen=True, eq=False, slots=True)
class CurvePrior:
    """Normal distribution, over photographs, of the difference from the estimate at `KNOTS`, and of the features.

    Attributes:
        mean: float `[K + FEATURES]`.
        covariance: float `[K + FEATURES, K + FEATURES]`.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[np.float64]) -> "CurvePrior":
        """Fit to measured rows of K + FEATURES values, with the median as a mean that is robust to outliers."""
        mean = np.median(rows, axis=0)
        return cls(mean, (rows - mean).T @ (rows - mean) / len(rows))

    def given(self, features: NDArray[np.float64]) -> "CurvePrior":
        """The distribution at the knots, conditioned on the features of an image."""
        k = len(KNOTS)
        spread = self.covariance[k:, k:] + 1e-6 * np.eye(FEATURES)
        off = features - self.mean[k:]
        off = off * (FARTHEST / max(FARTHEST, float(np.sqrt(off @ np.linalg.solve(spread, off)))))
        pull = np.linalg.solve(spread, self.covariance[k:, :k]).T
        return CurvePrior(self.mean[:k] + pull @ off, self.covariance[:k, :k] - pull @ self.covariance[k:, :k])


class ExpectedCurve:
    """Expected curve of one measure of one image."""

    def __init__(self, bare: CurveEstimate, measure: str, priors: Mapping[str, CurvePrior] | None = None) -> None:
        """Condition the prior on the image.

        Args:
            bare: estimate of the image.
            measure: one of `MEASURES`.
            priors: of all measures; by default those of the shipped model.
        """
        self._bare, self._noise = bare.of(measure), _NOISE[measure]
        self._prior = (priors or shipped_priors())[measure].given(bare.features())

    def given(self, known: Mapping[int, float]) -> Curve:
        """The expected curve, rising, conditioned on the measured value at each known step."""
        mean, covariance = self._prior.mean, self._prior.covariance
        steps = list(known)
        if steps:
            weights = _weights()[steps]
            off = np.array([known[s] for s in steps]) - self._bare[steps]
            spread = weights @ covariance @ weights.T + self._noise**2 * np.eye(len(steps))
            mean = mean + covariance @ weights.T @ np.linalg.solve(spread, off - weights @ mean)
        rising: Curve = np.maximum.accumulate(self._bare + _weights() @ mean)
        return rising


@functools.cache
def shipped_priors() -> dict[str, CurvePrior]:
    """Priors fitted to the shipped model `base`; they suit models that were adapted from it, too."""
    written: dict[str, dict[str, Any]] = json.loads(PRIORS.read_text())
    return {m: CurvePrior(np.array(written[m]["mean"]), np.array(written[m]["covariance"])) for m in MEASURES}


@functools.cache
def _weights() -> NDArray[np.float64]:
    """Interpolation weight of each knot at each step, `[QUALITY_STEPS, K]`."""
    steps = np.arange(QUALITY_STEPS) / FRACTIONS
    return np.stack([np.interp(steps, KNOTS, row) for row in np.eye(len(KNOTS))], axis=1)


def knot_steps() -> list[int]:
    """Quality steps of the knots."""
    return [round(q * FRACTIONS) for q in KNOTS]
