"""Search for a quality on a rising curve whose approximate shape is known beforehand. No torch.

Fidelity (in dB) and size (on a log scale) are smooth, rising functions of the quality, and a sample
of the latents predicts them approximately (`model.rate_control.rate_model`). Each trial improves
the prediction; mostly two or three trials suffice. The result depends on measured values alone.

A quality step is a quarter of a quality (`FRACTIONS`): the resolution of the search.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.bitstream.container import FRACTIONS
from model.core.config import QUALITIES

QUALITY_STEPS = QUALITIES * FRACTIONS
"""Number of quality steps; a step is an integer 0 .. QUALITY_STEPS - 1."""
TOLERANCE = 0.15
"""Largest accepted distance above a floor, in dB."""
TOLERANCE_SSIMULACRA2 = 0.5
"""The same for SSIMULACRA2, in points."""
SLACK = 0.02
"""Largest accepted distance below a limit of size, as a share of the bytes."""
EXPECTED_TRIALS = 6
"""Number of trials after which the search halves the bracket instead of using the expected curve."""


@dataclass(slots=True)
class Search:
    """Looks for the quality step whose value is nearest to the goal and on its right side.

    Attributes:
        expect: the expected value at every step, float `[steps]`, rising, given the values
            measured so far.
        goal: the value to reach.
        above: whether the value must be at least the goal; else at most.
        tolerance: largest accepted distance from the goal on the right side.
        steps: number of steps; a codec with another scale of qualities than ours has others.
    """

    expect: Callable[[Mapping[int, float]], NDArray[np.float64]]
    goal: float
    above: bool
    tolerance: float
    steps: int = QUALITY_STEPS
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
            return (low + high) // 2  # the expected curve is wrong for this image
        aim = self.goal + (0.5 if self.above else -0.5) * self.tolerance
        expected = self._expected()
        step = int(np.searchsorted(expected, aim))
        if 0 < step < self.steps and aim - expected[step - 1] < expected[step] - aim:
            step -= 1  # the nearest step, not the first beyond: a step is not much smaller than the tolerance
        return min(max(step, low + 1), high - 1)

    def record(self, step: int, value: float) -> None:
        """Record a measured value."""
        self._known[step] = value

    def best(self) -> int | None:
        """The lowest tried step that meets a floor, or the highest within a limit; None if there is none."""
        good = [s for s, v in self._known.items() if (v >= self.goal if self.above else v <= self.goal)]
        return (min(good) if self.above else max(good)) if good else None

    def nearest(self) -> int:
        """The step to use: the best, or the end of the tried range if none is on the right side."""
        best = self.best()
        return best if best is not None else (max(self._known) if self.above else min(self._known))

    def again(self) -> "Search":
        """A search for the same goal on a curve of about the shape that this one has found."""
        found = self._expected()
        return Search(lambda known: found, self.goal, self.above, self.tolerance, self.steps)

    def _bracket(self) -> tuple[int, int]:
        """Exclusive bounds of the steps that may still be better."""
        low = max((s for s, v in self._known.items() if v < self.goal), default=-1)
        high = min((s for s, v in self._known.items() if v >= self.goal and s > low), default=self.steps)
        return low, high

    def _expected(self) -> NDArray[np.float64]:
        """The expected curve, shifted through the known value nearest to the goal."""
        expected = self.expect(self._known)
        if self._known:
            nearest = min(self._known, key=lambda step: abs(self._known[step] - self.goal))
            expected = expected + (self._known[nearest] - expected[nearest])
        return expected


def at_every_step(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate values per quality to values per step; beyond the last quality with the slope before it."""
    last = values[-1] + (values[-1] - values[-2])
    steps: NDArray[np.float64] = np.interp(
        np.arange(QUALITY_STEPS) / FRACTIONS, np.arange(QUALITIES + 1), np.append(values, last)
    )
    return steps
