"""Search along a rising curve whose shape is roughly known beforehand. No torch.

Fidelity (in dB) and size (on a log scale) are smooth, rising functions of the quality, and a sample of the latents
tells their shape: how the error and the entropy of a rounded latent change with the gain. Each trial tells how far off
that is, and one to three trials land. What counts is only ever what a trial measured.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.config import QUALITIES
from model.container import FRACTIONS

STEPS = QUALITIES * FRACTIONS


@dataclass(slots=True)
class Search:
    """Looks for the step (a quarter of a quality) whose value is just beyond the goal on the right side.

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
        aim = self.goal + (0.5 if self.above else -0.5) * self.tolerance
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


def curves(sample: NDArray[np.float32], gains: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rough squared error (of values 0..1) and bits a pixel at every quality, as if all means were zero."""
    error, bits = [], []
    for gain in gains:
        scaled = np.abs(sample * gain)
        rounded = np.floor(scaled + 0.4)
        error.append(float(np.square((scaled - rounded) / gain).sum(1).mean()) / (16 * 16 * 3) + 1 / (12 * 255**2))
        bits.append(float(np.log2(1 + 2 * np.square(scaled)).sum(1).mean()) / 2 / (16 * 16))
    return np.minimum.accumulate(np.array(error)), np.maximum.accumulate(np.array(bits))


def every_step(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values a quality to values a step; past the last quality, as steeply as before it."""
    last = values[-1] + (values[-1] - values[-2])
    steps: NDArray[np.float64] = np.interp(
        np.arange(STEPS) / FRACTIONS, np.arange(QUALITIES + 1), np.append(values, last)
    )
    return steps
