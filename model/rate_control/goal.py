"""What a search for a quality compares: a target and its trials as numbers on the scales of curves. No torch.

Fidelity is in dB, that of MS-SSIM and SSIMULACRA2, too, and size is the logarithm of the bytes, so
that curves are smooth and about as steep everywhere. Searches of our own codec
(`model.rate_control.targeting`) and of standard codecs compare the same numbers.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from model.core.target import Target
from model.metrics import ms_ssim, ssimulacra2
from model.rate_control.quality_search import SLACK, TOLERANCE, TOLERANCE_SSIMULACRA2

HIGHEST = 100.0
"""PSNR in dB that stands for all above it, up to that of an exact picture, which is infinite; no floor is higher."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a trial has to reach.

    Attributes:
        measure: "psnr", "ms_ssim", "ssimulacra2" or "bytes".
        value: to reach, on the measure's scale.
        tolerance: largest accepted distance on the right side.
    """

    measure: str
    value: float
    tolerance: float

    @property
    def is_floor(self) -> bool:
        """Whether the value is a floor of fidelity, and no limit of bytes."""
        return self.measure != "bytes"

    @classmethod
    def of(cls, target: Target, pixels: int) -> "Goal":
        """The goal of a floor or a limit, for a picture of so many pixels."""
        if target.max_bpp is not None:
            return cls("bytes", math.log(target.max_bpp * pixels / 8), SLACK)
        if target.min_psnr is not None:
            return cls("psnr", target.min_psnr, TOLERANCE)
        if target.min_ms_ssim is not None:
            return cls("ms_ssim", ms_ssim.decibels(target.min_ms_ssim), TOLERANCE)
        assert target.min_ssimulacra2 is not None
        return cls.of_ssimulacra2(target.min_ssimulacra2)

    @classmethod
    def of_ssimulacra2(cls, score: float) -> "Goal":
        """The goal of at least this SSIMULACRA2, in points."""
        value = ssimulacra2.decibels(score)
        return cls("ssimulacra2", value, ssimulacra2.decibels(score + TOLERANCE_SSIMULACRA2) - value)


class Measured(Protocol):
    """A trial with what was measured of it: PSNR in dB, MS-SSIM, SSIMULACRA2 in points; None where it was not."""

    @property
    def psnr(self) -> float | None:
        """PSNR in dB, infinite for an exact picture."""

    @property
    def ms_ssim(self) -> float | None:
        """MS-SSIM, 0..1."""

    @property
    def ssimulacra2(self) -> float | None:
        """SSIMULACRA2 in points."""


def fidelity_of(trial: Measured, measure: str) -> float:
    """The fidelity of a trial in dB, by the measure of a floor, which must have been measured."""
    if measure == "psnr":
        assert trial.psnr is not None
        return min(trial.psnr, HIGHEST)
    if measure == "ms_ssim":
        assert trial.ms_ssim is not None
        return ms_ssim.decibels(trial.ms_ssim)
    assert trial.ssimulacra2 is not None
    return ssimulacra2.decibels(trial.ssimulacra2)
