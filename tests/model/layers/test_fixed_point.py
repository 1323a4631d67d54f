"""Integer arithmetic carried in float32 is exact, and `is_exact` tells when it would not be."""

import pytest
import torch

from model.core.config import QUALITIES
from model.layers.fixed_point import FixedLinear, FixedNeighbours, clip_activation, round_to


def integers(*shape: int, low: int = 0, high: int = 256) -> torch.Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(len(shape)))


def test_round_to_gives_multiples_and_rounds_halves_up() -> None:
    x = torch.tensor([-0.5, -0.25, -0.125, 0.0, 0.124, 0.125, 0.375, 7.9])
    assert round_to(x, 2).tolist() == [-0.5, -0.25, 0.0, 0.0, 0.0, 0.25, 0.5, 8.0]


def test_round_to_is_exact_for_any_float() -> None:
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(0)) * 3
    assert torch.equal(round_to(x, 4), torch.floor(x.double() * 16 + 0.5).div(16).float())


def test_the_gradient_of_round_to_is_the_identity() -> None:
    x = torch.randn(50, requires_grad=True)
    round_to(x, 3).backward(torch.arange(50.0))
    assert x.grad is not None
    assert torch.equal(x.grad, torch.arange(50.0))


def test_activations_are_8_bit_multiples_of_a_sixteenth() -> None:
    activations = clip_activation(torch.linspace(-3, 20, 1000)) * 16
    assert torch.equal(activations, activations.round())
    assert activations.min() == 0
    assert activations.max() == 255


@pytest.mark.parametrize("by_quality", [False, True])
def test_fixed_linear_computes_the_integer_sum_exactly(by_quality: bool) -> None:
    torch.manual_seed(2)
    layer = FixedLinear(96, 40, by_quality=by_quality)
    with torch.no_grad():
        layer.bias.uniform_(-3, 3)
        if layer.knots is not None:
            layer.knots.uniform_(-2, 2)
    x, quality = integers(4, 5, 6, 96), torch.tensor([0, 13, 40, QUALITIES - 1])
    got = layer(x / 16, quality) * 2**11

    weight = torch.floor(layer.weight.detach().double() * 2**7 + 0.5).long()
    expected = x @ weight.T + torch.floor(layer.bias.detach().double() * 2**11 + 0.5).long()
    if layer.knots is not None:
        knots = torch.floor(layer.knots.detach().double() * 2**8 + 0.5).long()
        left, right = quality // 8, (quality % 8)[:, None]
        expected += (knots[left] * (8 - right) + knots[left + 1] * right)[:, None, None]
    assert layer.is_exact()
    assert torch.equal(got.to(torch.int64), expected)
    assert torch.equal(got, got.floor())


def test_the_sum_is_the_same_in_any_order_and_precision() -> None:
    torch.manual_seed(3)
    layer, x = FixedLinear(300, 7), integers(50, 300) / 16
    reference = layer(x)
    for seed in range(5):
        order = torch.randperm(300, generator=torch.Generator().manual_seed(seed))
        shuffled = FixedLinear(300, 7)
        shuffled.load_state_dict({"weight": layer.weight[:, order], "bias": layer.bias})
        assert torch.equal(shuffled(x[:, order]), reference)
    assert torch.equal(layer.double()(x.double()).float(), reference)


def test_weights_beyond_8_bits_are_clamped() -> None:
    layer = FixedLinear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(100.0)
    assert layer(torch.tensor([[1.0]])).item() == 255 / 128


def test_a_layer_whose_sums_float32_cannot_hold_is_not_exact() -> None:
    layer = FixedLinear(258, 2)
    with torch.no_grad():
        layer.weight[0].fill_(255 / 128)
        layer.weight[1].fill_(0)
        layer.bias.fill_(0)
    assert 258 * 255 * 255 < 2**24
    assert layer.is_exact()
    with torch.no_grad():
        layer.bias[1] = 2.0**13
    assert not layer.is_exact()
    wider = FixedLinear(259, 1)
    with torch.no_grad():
        wider.weight.fill_(-255 / 128)
    assert not wider.is_exact()


def test_neighbour_sums_are_exact_and_see_zero_beyond_the_edge() -> None:
    layer, x = FixedNeighbours(3), integers(2, 5, 6, 3)
    with torch.no_grad():
        layer.weight.uniform_(-2, 2)
    got = layer(x / 16) * 2**11
    weight = torch.floor(layer.weight.detach().double() * 2**7 + 0.5).clamp(-255, 255).long().reshape(3, 3, 3)
    expected = torch.zeros_like(x)
    for row in range(5):
        for column in range(6):
            for i in range(3):
                for j in range(3):
                    r, c = row + i - 1, column + j - 1
                    if 0 <= r < 5 and 0 <= c < 6:
                        expected[:, row, column] += x[:, r, c] * weight[i, j]
    assert torch.equal(got.to(torch.int64), expected)
