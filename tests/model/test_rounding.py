"""Rounding with a dead zone: towards zero where zero is likely, plain rounding where it is not."""

import torch

from model.rounding import DEAD_ZONE, to_symbols, to_symbols_through


def test_large_scales_round_to_the_nearest() -> None:
    residual = torch.linspace(-20, 20, 4001)
    symbols = to_symbols(residual, torch.full_like(residual, 63.0))
    assert (symbols - residual).abs().max() <= 0.5 + 1e-6


def test_small_scales_leave_a_bin_later() -> None:
    index = torch.zeros(2)
    just_inside, just_outside = 0.5 + 0.8 * DEAD_ZONE, 0.5 + DEAD_ZONE
    assert to_symbols(torch.tensor([just_inside, just_outside]), index).tolist() == [0, 1]


def test_rounding_is_odd_and_gives_whole_numbers() -> None:
    residual, index = torch.randn(1000) * 4, torch.randint(0, 64, (1000,)).float()
    symbols = to_symbols(residual, index)
    assert torch.equal(symbols, symbols.round())
    assert torch.equal(to_symbols(-residual, index), -symbols)


def test_the_gradient_passes_straight_through() -> None:
    residual = torch.randn(20, requires_grad=True)
    to_symbols_through(residual, torch.full((20,), 10.0)).sum().backward()
    assert residual.grad is not None
    assert torch.equal(residual.grad, torch.ones(20))
