"""The search for the quality that just meets a target.

Fidelity (in dB) and size (in bits, on a log scale) are smooth, rising functions of the quality, and a sample of the
latents tells their shape beforehand: how the error and the entropy of a rounded latent change with the gain. One real
trial then tells how far off that is for this picture, and two or three trials land. What counts is only ever what a
trial measured.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.config import QUALITIES
from model.container import FRACTIONS
from model.picture import Picture
from model.target import Target

STEPS = QUALITIES * FRACTIONS
TOLERANCE = 0.15
"""How far above its floor, in dB, a picture may land."""
SLACK = 0.01
"""How far below its limit, as a share of the bytes, a picture may land."""
OVERHEAD = 80
"""Bytes that a payload takes however small the picture; a guess, only to begin with."""


def decibels(similarity: float) -> float:
    """MS-SSIM on a scale that runs nearly alongside PSNR."""
    return -10 * math.log10(max(1 - similarity, 1e-9))


@dataclass(slots=True)
class Search:
    """Looks for the step (an eighth of a quality) whose value is just beyond the goal on the right side.

    Attributes:
        shape: expected value at every step, float `[STEPS]`, rising; only its differences count once something is
            measured.
        goal: what to reach.
        above: whether the value must be at least the goal (else at most).
        tolerance: how far on the right side it may be.
    """

    shape: NDArray[np.float64]
    goal: float
    above: bool
    tolerance: float
    _known: dict[int, float] = field(default_factory=dict)

    def propose(self) -> int | None:
        """The step to try next; None when the best is known."""
        low, high = self._bracket()
        best = self.best()
        if best is not None and abs(self._known[best] - self.goal) <= self.tolerance:
            return None
        if high - low <= 1:
            return None
        aim = self.goal + (0.4 if self.above else -0.4) * self.tolerance
        expected = self._expected()
        reaching = (
            int(np.searchsorted(expected, aim)) if self.above else int(np.searchsorted(expected, aim, "right")) - 1
        )
        return min(max(reaching, low + 1), high - 1)

    def record(self, step: int, value: float) -> None:
        """Take note of what was measured."""
        self._known[step] = value

    def best(self) -> int | None:
        """Among what was tried, the cheapest step that holds a floor, or the dearest within a limit."""
        good = [s for s, v in self._known.items() if (v >= self.goal if self.above else v <= self.goal)]
        return (min(good) if self.above else max(good)) if good else None

    def nearest(self) -> int:
        """The step to settle for: the best, or the nearest end when there is none."""
        best = self.best()
        return best if best is not None else (max(self._known) if self.above else min(self._known))

    def _bracket(self) -> tuple[int, int]:
        """The answer is between these, which need not be tried (again)."""
        low = max((s for s, v in self._known.items() if v < self.goal), default=-1)
        high = min((s for s, v in self._known.items() if v >= self.goal and s > low), default=STEPS)
        return low, high

    def _expected(self) -> NDArray[np.float64]:
        """The shape, moved to go through what is known."""
        if not self._known:
            return self.shape
        steps = sorted(self._known)
        off = [self._known[s] - self.shape[s] for s in steps]
        moved: NDArray[np.float64] = np.maximum.accumulate(self.shape + np.interp(np.arange(STEPS), steps, off))
        return moved


def log_bits(size: float) -> float:
    """A payload's bytes on the scale that a search for a size goes by."""
    return math.log(size)


def search(target: Target, sample: NDArray[np.float32], gains: NDArray[np.float32], picture: Picture) -> Search:
    """A search for one picture.

    Args:
        target: a floor or a limit.
        sample: some of its latents y, float `[n, M]`.
        gains: float `[QUALITIES, M]`.
        picture: what is pressed.
    """
    error, bits = _curves(sample, gains)
    if target.max_bpp is not None:
        pixels = picture.width * picture.height
        return Search(_every(np.log(OVERHEAD + bits * pixels / 8)), log_bits(target.max_bpp * pixels / 8), False, SLACK)
    psnr = _every(-10 * np.log10(error))
    if target.min_psnr is not None:
        return Search(psnr, target.min_psnr, True, TOLERANCE)
    assert target.min_ms_ssim is not None
    return Search(psnr - 15, decibels(target.min_ms_ssim), True, TOLERANCE)


def _curves(sample: NDArray[np.float32], gains: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rough squared error (of values 0..1) and bits a pixel at every quality, as if all means were zero."""
    error, bits = [], []
    for gain in gains:
        scaled = np.abs(sample * gain)
        rounded = np.floor(scaled + 0.4)
        error.append(float(np.square((scaled - rounded) / gain).sum(1).mean()) / (16 * 16 * 3) + 1 / (12 * 255**2))
        bits.append(float(np.log2(1 + 2 * np.square(scaled)).sum(1).mean()) / 2 / (16 * 16))
    return np.minimum.accumulate(np.array(error)), np.maximum.accumulate(np.array(bits))


def _every(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values a quality to values a step; past the last quality, as steeply as before it."""
    last = values[-1] + (values[-1] - values[-2])
    steps: NDArray[np.float64] = np.interp(
        np.arange(STEPS) / FRACTIONS, np.arange(QUALITIES + 1), np.append(values, last)
    )
    return steps
