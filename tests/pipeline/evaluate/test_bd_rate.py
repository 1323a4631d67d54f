"""BD-rate: known differences are found."""

import numpy as np
import pytest

from model.metrics.ms_ssim import decibels
from model.metrics.ssimulacra2 import ssimulacra2
from pipeline.evaluate.bd_rate import average, bd_rate, common_range, rate_at
from pipeline.evaluate.points import compare

CURVE = [(0.1, 28.0), (0.2, 30.5), (0.5, 34.0), (1.0, 37.2), (2.0, 41.0)]


def scaled(factor: float) -> list[tuple[float, float]]:
    return [(factor * rate, fidelity) for rate, fidelity in CURVE]


@pytest.mark.parametrize(("factor", "percent"), [(1.0, 0.0), (0.5, -50.0), (0.9, -10.0), (2.0, 100.0)])
def test_a_constant_factor_of_rate_is_its_percentage(factor: float, percent: float) -> None:
    assert bd_rate(CURVE, scaled(factor)) == pytest.approx(percent, abs=1e-9)


def test_going_there_and_back_is_no_difference() -> None:
    other = [(0.15, 29.0), (0.3, 32.0), (0.9, 36.0), (1.7, 41.5)]
    assert (1 + bd_rate(CURVE, other) / 100) * (1 + bd_rate(other, CURVE) / 100) == pytest.approx(1)


def test_the_order_of_points_does_not_matter() -> None:
    other = scaled(0.8)
    assert bd_rate(CURVE[::-1], [other[i] for i in (2, 0, 4, 1, 3)]) == pytest.approx(-20)


def test_points_that_cost_more_for_less_are_left_out() -> None:
    assert bd_rate(CURVE, [*scaled(0.8), (1.5, 30.0), (0.16, 30.5)]) == pytest.approx(-20)


def test_only_the_common_range_counts() -> None:
    # Log rate is a straight line here, so that cutting it short changes nothing.
    line = [(2.0 ** (d / 6), float(d)) for d in range(28, 45)]
    half = [(0.5 * rate, d) for rate, d in line[5:9]]
    assert common_range(line, half) == (33.0, 36.0)
    assert bd_rate(line, half) == pytest.approx(-50)


def test_only_the_range_that_is_asked_for_counts() -> None:
    line = [(2.0 ** (d / 6), float(d)) for d in range(20, 81)]
    better_low = [(rate * (0.25 if d < 40 else 0.5), d) for rate, d in line]
    assert bd_rate(line, better_low, (45.0, 70.0)) == pytest.approx(-50)
    assert bd_rate(line, better_low) < -55
    with pytest.raises(ValueError, match="no range"):
        bd_rate(line, better_low, (80.0, 90.0))


def test_a_crossing_weighs_both_sides() -> None:
    line = [(2.0 ** (d / 6), float(d)) for d in range(30, 41)]
    steeper = [(2.0 ** (35 / 6 + (d - 35) / 3), float(d)) for d in range(30, 41)]
    assert bd_rate(line, steeper) == pytest.approx(0, abs=1e-9)


def test_curves_without_a_common_range_are_refused() -> None:
    with pytest.raises(ValueError, match="no range"):
        bd_rate(CURVE, [(1.0, 50.0), (2.0, 55.0)])
    with pytest.raises(ValueError, match="two points"):
        bd_rate(CURVE, [(1.0, 30.0), (2.0, 29.0)])


def test_the_average_is_point_by_point() -> None:
    assert average([[(1.0, 30.0), (2.0, 40.0)], [(3.0, 32.0), (4.0, 44.0)]]) == [(2.0, 31.0), (3.0, 42.0)]


def test_fidelity_is_of_8_bit_images_and_rate_of_the_whole_file() -> None:
    original = np.random.default_rng(0).integers(1, 256, (200, 170, 3)).astype(np.uint8)
    point = compare(40, 1000, original, original - 1)
    assert point.bpp == pytest.approx(8000 / (200 * 170))
    assert point.psnr == pytest.approx(20 * np.log10(255))
    assert point.ms_ssim is not None and 0.999 < point.ms_ssim < 1
    assert point.ssimulacra2 == ssimulacra2(original, original - 1)
    assert compare(40, 1000, original[:100], original[:100]).ms_ssim is None
    assert compare(40, 1000, original[:100], original[:100]).ssimulacra2 == 100
    assert decibels(0.99) == pytest.approx(20)


def test_the_rate_at_a_fidelity_lies_on_the_curve_and_nowhere_beyond_it() -> None:
    assert rate_at(CURVE, 34.0) == pytest.approx(0.5)
    between = rate_at(CURVE, 35.0)
    assert between is not None and 0.5 < between < 1.0
    assert rate_at(CURVE, 41.1) is None
    assert rate_at(CURVE[:1], 28.0) is None
