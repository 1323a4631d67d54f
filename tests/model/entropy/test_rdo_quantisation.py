"""Rate-distortion optimised rounding: towards zero where zero is likely, to the nearest elsewhere."""

import pytest
import torch

from model.entropy.priors import ESCAPE_BITS, LatentPrior
from model.entropy.rdo_quantisation import BITS_WEIGHT, thresholds, to_symbols, to_symbols_through


@pytest.fixture
def rows() -> torch.Tensor:
    return thresholds(LatentPrior().costs())


def test_large_scales_round_to_the_nearest(rows: torch.Tensor) -> None:
    residual = torch.linspace(-20, 20, 4001)
    symbols = to_symbols(residual, torch.full_like(residual, 63.0), rows)
    assert (symbols - residual).abs().max() <= 0.5 + 1e-3


def test_the_more_bits_a_larger_symbol_costs_the_higher_is_its_threshold() -> None:
    rows = thresholds(torch.tensor([[1.0, 1.0, 3.0], [0.1, 6.1, 8.1], [0.0, 20.0, 40.0]]))
    w = BITS_WEIGHT
    expected = [[0.5, 0.5 + 2 * w], [0.5 + 6 * w, 0.5 + 2 * w], [0.5 + 20 * w, 1.0]]
    assert torch.allclose(rows, torch.tensor(expected))
    index = torch.ones(4)
    sizes = torch.tensor([0.79, 0.81, 1.59, 1.61])
    assert to_symbols(sizes, index, rows).tolist() == [0, 1, 1, 2]


def test_where_zero_is_not_coded_a_symbol_must_save_what_its_escape_costs(rows: torch.Tensor) -> None:
    to_two = 1 + BITS_WEIGHT / 2 * ESCAPE_BITS  # error of 0 less that of 2, (x^2 - (x - 2)^2), against bits
    sizes = torch.tensor([0.6, 1.4, to_two - 0.01, to_two + 0.01, 2.6, 7.4])
    assert to_symbols(sizes, torch.zeros(6), rows).tolist() == [0, 0, 0, 2, 3, 7]


def test_thresholds_fall_as_scales_grow(rows: torch.Tensor) -> None:
    assert (rows[1:].diff(dim=0) <= 1e-4).all() and rows[0, 0] > 0.9 and rows[63, 0] < 0.501


def test_rounding_is_odd_and_gives_whole_numbers(rows: torch.Tensor) -> None:
    residual, index = torch.randn(1000) * 4, torch.randint(0, 64, (1000,)).float()
    symbols = to_symbols(residual, index, rows)
    assert torch.equal(symbols, symbols.round())
    assert torch.equal(to_symbols(-residual, index, rows), -symbols)


def test_the_gradient_passes_straight_through(rows: torch.Tensor) -> None:
    residual = torch.randn(20, requires_grad=True)
    to_symbols_through(residual, torch.full((20,), 10.0), rows).sum().backward()
    assert residual.grad is not None
    assert torch.equal(residual.grad, torch.ones(20))
