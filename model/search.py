"""Search along a rising curve whose shape is roughly known beforehand. No torch.

Fidelity (in dB) and size (on a log scale) are smooth, rising functions of the quality, and a sample of the latents
tells their shape (`model.guess`). Each trial tells how far off that is, and mostly two land. What counts is only ever
what a trial measured.
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
        """The shape, moved to go through the known value nearest to the goal, and stretched to go through the next."""
        nearest = sorted(self._known, key=lambda step: abs(self._known[step] - self.goal))
        if not nearest:
            return self.shape
        origin, stretch = nearest[0], 1.0
        if len(nearest) > 1:
            rise = self.shape[nearest[1]] - self.shape[origin]
            if rise:
                stretch = (self._known[nearest[1]] - self._known[origin]) / rise
        moved: NDArray[np.float64] = self._known[origin] + np.clip(stretch, 0.5, 2.0) * (
            self.shape - self.shape[origin]
        )
        return moved


def every_step(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values a quality to values a step; past the last quality, as steeply as before it."""
    last = values[-1] + (values[-1] - values[-2])
    steps: NDArray[np.float64] = np.interp(
        np.arange(STEPS) / FRACTIONS, np.arange(QUALITIES + 1), np.append(values, last)
    )
    return steps
