"""Interpolation over qualities: exact at the knots, linear between them."""

import torch

from model.core.config import QUALITIES
from model.layers.quality import KNOT_SPACING, KNOTS, LAMBDA_MAX, LAMBDA_MIN, QualityRows, interpolate, tradeoff


def test_interpolation_returns_the_knots_at_every_eighth_quality() -> None:
    knots = torch.randn(KNOTS, 5)
    for i in range(KNOTS - 1):
        assert torch.equal(interpolate(knots, torch.tensor([i * KNOT_SPACING]))[0, 0, 0], knots[i])


def test_interpolation_is_exact_on_the_integer_grid() -> None:
    generator = torch.Generator().manual_seed(1)
    knots = torch.randint(-(2**15), 2**15, (KNOTS, 64), generator=generator)
    quality = torch.arange(QUALITIES)
    interpolated = interpolate(knots / 2**8, quality)[:, 0, 0] * 2**11
    left, weight = quality // KNOT_SPACING, (quality % KNOT_SPACING)[:, None]
    assert torch.equal(interpolated.to(torch.int64), knots[left] * (8 - weight) + knots[left + 1] * weight)
    assert torch.equal(interpolated, interpolated.floor())


def test_the_last_quality_reaches_beyond_the_last_knot_but_one() -> None:
    rows = QualityRows(1, torch.arange(float(KNOTS))[:, None])
    assert rows(torch.tensor([QUALITIES - 1])).item() == (QUALITIES - 1) / KNOT_SPACING


def test_the_tradeoff_is_log_spaced_between_its_ends() -> None:
    weights = tradeoff(torch.arange(QUALITIES)).double()
    steps = weights[1:] / weights[:-1]
    assert torch.allclose(weights[[0, -1]], torch.tensor([LAMBDA_MIN, LAMBDA_MAX]).double())
    assert steps.max() / steps.min() < 1 + 1e-5
