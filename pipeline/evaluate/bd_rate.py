"""BD-rate (Bjontegaard delta): the difference in rate between two codecs at equal fidelity.

Log rate is interpolated over fidelity by a monotone cubic (PCHIP, as the standards bodies have done since 2020:
Bjontegaard's cubic polynomial oscillates with more than four points), and the difference is averaged over the range
of fidelity that both curves cover. Bjontegaard, "Calculation of average PSNR differences between RD-curves", 2001.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

Curve = Sequence[tuple[float, float]]
"""Points (rate in bits per pixel, fidelity in dB or points), in any order."""
EVERYWHERE = (-math.inf, math.inf)


def bd_rate(anchor: Curve, test: Curve, within: tuple[float, float] = EVERYWHERE) -> float:
    """Difference in rate of `test` from `anchor` at equal fidelity, in percent; negative if `test` is better.

    Args:
        anchor: the curve to compare with.
        test: the curve to compare.
        within: range of fidelity that counts, as far as both curves cover it.

    Raises:
        ValueError: when a curve has fewer than two distinct points, or the two share no range of fidelity.
    """
    (low, high), curves = common_range(anchor, test, within), (_log_rate(anchor), _log_rate(test))
    means = [float(curve.integrate(low, high)) / (high - low) for curve in curves]
    return float(100 * np.expm1(means[1] - means[0]))


def common_range(anchor: Curve, test: Curve, within: tuple[float, float] = EVERYWHERE) -> tuple[float, float]:
    """Lowest and highest fidelity within a range that both curves cover.

    Raises:
        ValueError: when there is none.
    """
    fidelities = [[fidelity for _, fidelity in curve] for curve in (anchor, test)]
    low, high = max(within[0], *map(min, fidelities)), min(within[1], *map(max, fidelities))
    if low >= high:
        raise ValueError(
            f"the curves share no range of fidelity (one begins at {low:.2f}, the other ends at {high:.2f})"
        )
    return low, high


def average(curves: Sequence[Curve]) -> list[tuple[float, float]]:
    """Pointwise mean of curves measured at the same settings, as published curves are averaged."""
    points: NDArray[np.float64] = np.asarray(curves, np.float64).mean(0)
    return [(float(rate), float(fidelity)) for rate, fidelity in points]


def rate_at(curve: Curve, fidelity: float) -> float | None:
    """Rate in bits per pixel at a fidelity, interpolated; None outside the curve or if it has a single point."""
    try:
        log_rate = _log_rate(curve)
    except ValueError:
        return None
    if not log_rate.x[0] <= fidelity <= log_rate.x[-1]:
        return None
    return float(np.exp(log_rate(fidelity)))


def _log_rate(curve: Curve) -> PchipInterpolator:
    """Log rate as a function of fidelity, over the Pareto-optimal points of a curve."""
    best: list[tuple[float, float]] = []
    for rate, fidelity in sorted(curve, key=lambda point: (-point[1], point[0])):
        if not best or (fidelity < best[-1][1] and rate < best[-1][0]):
            best.append((rate, fidelity))
    if len(best) < 2:
        raise ValueError("a rate-distortion curve needs two points of different fidelity")
    rates, fidelities = np.asarray(best[::-1]).T
    return PchipInterpolator(fidelities, np.log(rates))
