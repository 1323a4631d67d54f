"""Search along a rising curve whose shape is roughly known beforehand. No torch.

Fidelity (in dB) and size (on a log scale) are smooth, rising functions of the quality, and a sample
of the latents tells where about they lie (`model.rate_control.rate_model`). Each trial tells more,
and mostly two or three land. What counts is only ever what a trial measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.bitstream.container import FRACTIONS
from model.core.config import QUALITIES

QUALITY_STEPS = QUALITIES * FRACTIONS
EXPECTED_TRIALS = 6
"""After so many the bracket is halved."""


@dataclass(slots=True)
class Search:
    """Looks for the step (a quarter of a quality) whose value is just beyond the goal on the right side.

    Attributes:
        expect: the expected value at every step, float `[QUALITY_STEPS]`, rising, given the values measured so far.
        goal: what to reach.
        above: whether the value must be at least the goal (else at most).
        tolerance: how far on the right side it may be.
    """

    expect: Callable[[Mapping[int, float]], NDArray[np.float64]]
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
        if len(self._known) >= EXPECTED_TRIALS:
            return (low + high) // 2  # like nothing that was expected
        aim = self.goal + (0.5 if self.above else -0.5) * self.tolerance
        expected = self._expected()
        step = int(np.searchsorted(expected, aim))
        if 0 < step < QUALITY_STEPS and aim - expected[step - 1] < expected[step] - aim:
            step -= 1  # the nearest, not the first beyond: a step is not much narrower than the tolerance
        return min(max(step, low + 1), high - 1)

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
        high = min((s for s, v in self._known.items() if v >= self.goal and s > low), default=QUALITY_STEPS)
        return low, high

    def _expected(self) -> NDArray[np.float64]:
        """The expected curve, moved to go through the known value nearest to the goal."""
        expected = self.expect(self._known)
        if self._known:
            nearest = min(self._known, key=lambda step: abs(self._known[step] - self.goal))
            expected = expected + (self._known[nearest] - expected[nearest])
        return expected


def at_every_step(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values a quality to values a step; past the last quality, as steeply as before it."""
    last = values[-1] + (values[-1] - values[-2])
    steps: NDArray[np.float64] = np.interp(
        np.arange(QUALITY_STEPS) / FRACTIONS, np.arange(QUALITIES + 1), np.append(values, last)
    )
    return steps
