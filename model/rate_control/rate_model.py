"""What a sample of an image's latents, and what was measured since, tell of its size and fidelity. No torch.

Bare estimates hold as if the transform were orthonormal and all means zero: the error is that of
rounding the sample, the bits are those of its logarithms, and MS-SSIM's loss is the error of each
place over its contrast, `error / (2 variance + C2)` (Wang et al. 2003, with equal means). How far a
curve lies from its estimate is, over photographs, about normally distributed and smooth in the
quality: a mean and a covariance over some qualities, which `python -m bench.guess` works out. What
kind of image it is narrows this: above all how much of it no latent can hold, which bounds its
fidelity (`model.inference.projection_error`). Given trials of an image, the expectation of a normal
distribution says how its curve goes on: the higher it lies here the flatter it may be there. That
only saves trials; what holds is measured.
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
"""First so many latents of a place are its means, not its contrast."""
ROUNDED_UP_FROM = 0.6
LEAST_BYTES = 80
"""Of the smallest payload."""
KNOTS = (0, 4, 12, 20, 28, 36, 44, 52, 60, QUALITIES - 1 / FRACTIONS)
"""Qualities at which curves are described; linear in between."""
FEATURES_AT = 20
"""Quality whose bare PSNR and bytes say what kind of image it is."""
FEATURES = 4
"""Numbers that say so: those two, and two ceilings."""
LEAST_LEFTOVER = 1e-6
"""Below it (60 dB) nobody sees what is left over."""
MEASURES = ("psnr", "ms_ssim", "bytes")
PRIORS = Path(__file__).parents[1] / "weights" / "guess.json"
_LOOKED_AT = [*range(0, QUALITIES, 4), QUALITIES - 1]
"""Qualities that estimates are made at; lines in between."""
_NOISE = {"psnr": 0.02, "ms_ssim": 0.02, "bytes": 0.004}
"""Standard deviation of what lines between knots leave, in the measure's units."""

Curve = NDArray[np.float64]
"""A value at every step, `[QUALITY_STEPS]`."""


@dataclass(frozen=True, eq=False, slots=True)
class CurveEstimate:
    """Of an image at every step, float `[QUALITY_STEPS]`, rising: `psnr` and `ms_ssim` in dB, natural `log_bytes`.

    Attributes:
        ceilings: PSNR in dB that what is left over allows, in all colours and in luma, float `[2]`.
    """

    psnr: Curve
    ms_ssim: Curve
    log_bytes: Curve
    ceilings: NDArray[np.float64]

    def features(self) -> NDArray[np.float64]:
        """What kind of image it is, `[FEATURES]`."""
        at = FEATURES_AT * FRACTIONS
        return np.array([self.psnr[at], self.log_bytes[at] - self.log_bytes[-1], *self.ceilings])

    def of(self, measure: str) -> Curve:
        """The curve of one of `MEASURES`."""
        return {"psnr": self.psnr, "ms_ssim": self.ms_ssim, "bytes": self.log_bytes}[measure]


def estimate_curves(sample: LatentSample, gains: NDArray[np.float32], pixels: int) -> CurveEstimate:
    """The bare estimate.

    Args:
        sample: some places of the image.
        gains: quantisation steps a unit of them at every quality, float `[QUALITIES, M]`.
        pixels: of the image.
    """
    variance = np.square(sample.latents[:, LOCAL_MEANS:]).sum(1) / BLOCK_VALUES
    rounding = 1 / (12 * 255**2)  # of the output to 8 bits
    error, loss, bits = [], [], []
    for gain in gains[_LOOKED_AT]:
        scaled = np.abs(sample.latents * gain)
        missed = (scaled - np.floor(scaled + 1 - ROUNDED_UP_FROM)) / gain
        errors = np.square(missed).sum(1) / BLOCK_VALUES + rounding
        error.append(float(errors.mean()))
        loss.append(float((errors / (2 * variance + C2)).mean()))
        bits.append(float(np.log2(1 + 2 * np.square(scaled)).sum(1).mean()) / 2 / LATENT_STRIDE**2)
    size = np.log(LEAST_BYTES + np.array(bits) / 8 * pixels)
    ceilings = -10 * np.log10(sample.leftover.mean(0, dtype=np.float64) + LEAST_LEFTOVER)
    return CurveEstimate(_curve(-10 * np.log10(error)), _curve(-10 * np.log10(loss)), _curve(size), ceilings)


def _curve(values: NDArray[np.float64]) -> Curve:
    """Of values at the qualities that were looked at."""
    every_quality = np.interp(np.arange(QUALITIES), _LOOKED_AT, values)
    return at_every_step(np.maximum.accumulate(every_quality))


@dataclass(frozen=True, eq=False, slots=True)
class CurvePrior:
    """How far photographs' curves lie from their estimates: at `KNOTS`, and then their features.

    Attributes:
        mean: float `[K + FEATURES]`.
        covariance: float `[K + FEATURES, K + FEATURES]`.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[np.float64]) -> "CurvePrior":
        """Of measured curves, a row each; the median stands for the mean, since some images are like no other."""
        mean = np.median(rows, axis=0)
        return cls(mean, (rows - mean).T @ (rows - mean) / len(rows))

    def given(self, features: NDArray[np.float64]) -> "CurvePrior":
        """Of images of that kind, at the knots alone."""
        k = len(KNOTS)
        pull = np.linalg.solve(self.covariance[k:, k:] + 1e-6 * np.eye(FEATURES), self.covariance[k:, :k]).T
        mean = self.mean[:k] + pull @ (features - self.mean[k:])
        return CurvePrior(mean, self.covariance[:k, :k] - pull @ self.covariance[k:, :k])


class ExpectedCurve:
    """One measure of one image at every step, as far as it is known."""

    def __init__(self, bare: CurveEstimate, measure: str, priors: Mapping[str, CurvePrior] | None = None) -> None:
        """Before anything is measured.

        Args:
            bare: estimate of the image.
            measure: one of `MEASURES`.
            priors: of all measures; without them those of the shipped model.
        """
        self._bare, self._noise = bare.of(measure), _NOISE[measure]
        self._prior = (priors or shipped_priors())[measure].given(bare.features())

    def given(self, known: Mapping[int, float]) -> Curve:
        """The curve, rising, through the measured value at each known step."""
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
    """Of the shipped model; models that began as it lie near."""
    written: dict[str, dict[str, Any]] = json.loads(PRIORS.read_text())
    return {m: CurvePrior(np.array(written[m]["mean"]), np.array(written[m]["covariance"])) for m in MEASURES}


@functools.cache
def _weights() -> NDArray[np.float64]:
    """What each knot weighs at each step, `[QUALITY_STEPS, K]`."""
    steps = np.arange(QUALITY_STEPS) / FRACTIONS
    return np.stack([np.interp(steps, KNOTS, row) for row in np.eye(len(KNOTS))], axis=1)


def knot_steps() -> list[int]:
    """Steps of the knots."""
    return [round(q * FRACTIONS) for q in KNOTS]
