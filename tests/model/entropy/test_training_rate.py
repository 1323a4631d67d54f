import math

import pytest
import torch
from torch import Tensor

from model.bitstream.probability_tables import SCALES
from model.entropy.priors import LatentPrior
from model.entropy.scale_path import scale_of
from model.entropy.training_rate import FLOOR


def by_autograd(prior: LatentPrior, residual: Tensor, noise: Tensor, symbols: Tensor, index: Tensor) -> Tensor:
    """The definition: the value of the coded symbols, and the gradient of noise by the latents."""

    def bits(value: Tensor, index: Tensor, spread: Tensor, logit: Tensor) -> Tensor:
        row = index.detach().long()
        inverse = torch.exp(-spread)[row] / (scale_of(index)[..., None] * math.sqrt(2))
        size = value.abs()[..., None]
        bins = 0.5 * (torch.erfc((size - 0.5) * inverse) - torch.erfc((size + 0.5) * inverse))
        return -torch.log2((torch.softmax(logit, -1)[row] * bins).sum(-1).clamp(min=FLOOR))

    through = bits(residual + noise, index.detach(), prior.spread.detach(), prior.logit.detach())
    return bits(symbols.detach(), index, prior.spread, prior.logit) + through - through.detach()


@pytest.fixture
def case() -> tuple[LatentPrior, Tensor, Tensor]:
    torch.manual_seed(3)
    prior = LatentPrior()
    with torch.no_grad():
        prior.logit.normal_()
        prior.spread.add_(0.2 * torch.randn_like(prior.spread))
    index = torch.randint(0, SCALES, (2, 5, 7, 8)).float()
    residual = torch.randn(index.shape) * 1.3 * scale_of(index)
    return prior, residual, index


def test_bits_and_all_gradients_in_training_are_those_of_autograd(case: tuple[LatentPrior, Tensor, Tensor]) -> None:
    prior, residual, index = case
    weight = torch.rand(index.shape)
    results = []
    for by_hand in (True, False):
        latents, rows = residual.clone().requires_grad_(), index.clone().requires_grad_()
        prior.zero_grad()
        symbols = torch.round(latents)
        torch.manual_seed(5)
        if by_hand:
            bits = prior(latents, symbols, rows)
        else:
            bits = by_autograd(prior, latents, torch.empty_like(latents).uniform_(-0.5, 0.5), symbols, rows)
        (bits * weight).sum().backward()
        parts = (bits.detach(), latents.grad, rows.grad, prior.spread.grad, prior.logit.grad)
        results.append([part.clone() for part in parts if part is not None])
    assert len(results[0]) == 5
    for made, expected in zip(*results, strict=True):
        torch.testing.assert_close(made, expected, rtol=2e-3, atol=2e-4)


def test_an_enormous_or_undefined_symbol_costs_as_much_as_the_table_allows(
    case: tuple[LatentPrior, Tensor, Tensor],
) -> None:
    prior, residual, index = case
    residual.view(-1)[0], residual.view(-1)[1] = 1e9, math.nan
    index.view(-1)[0] = 5
    bits = prior(residual, torch.round(residual), index)
    assert bits.detach().view(-1)[0] == pytest.approx(24)
    assert bits.isfinite().all()


def test_reconstruction_points_get_the_gradient_of_all_their_symbols(case: tuple[LatentPrior, Tensor, Tensor]) -> None:
    prior, residual, index = case
    symbols = torch.round(residual)
    prior.reconstruct(symbols, index).sum().backward()
    expected = torch.zeros(SCALES, 2)
    larger = (symbols.abs() > 1.5).long()
    expected.index_put_((index.long(), larger), -torch.sign(symbols), accumulate=True)
    assert prior.offset.grad is not None
    torch.testing.assert_close(prior.offset.grad, expected)
