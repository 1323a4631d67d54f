"""A closed unit opens again in training, and everything else is an ordinary rectifier."""

import pytest
import torch
import torch.nn.functional as F

from model.layers.blocks import Block
from model.layers.relu import LEAK, relu


@pytest.mark.parametrize("training", [False, True])
def test_values_are_those_of_a_rectifier(training: bool) -> None:
    x = torch.tensor([-2.0, -0.0, 0.0, 1e-30, 3.0])
    assert torch.equal(relu(x, training=training), F.relu(x))


def test_closed_units_get_a_share_of_the_gradient_in_training_only() -> None:
    x = torch.tensor([-2.0, 3.0], requires_grad=True)
    for training, expected in ((True, LEAK), (False, 0.0)):
        (gradient,) = torch.autograd.grad(relu(x, training=training).sum(), [x])
        assert gradient.tolist() == pytest.approx([expected, 1.0])


def test_a_block_whose_gates_are_all_closed_learns_to_open_them() -> None:
    torch.manual_seed(0)
    block = Block(8)
    with torch.no_grad():
        block.expand.bias[:8] = -0.2
        torch.nn.init.normal_(block.project.weight, std=0.3)
    image = torch.randn(4, 8, 8, 8) * 0.02  # varies far less than the biases
    target = image + 0.1
    optimizer = torch.optim.Adam(block.parameters(), 1e-3)

    def gates() -> torch.Tensor:
        sums = block.spatial(image.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        expanded: torch.Tensor = block.expand(sums)
        return expanded[..., :8]

    block.project.bias.requires_grad_(False)  # else it alone gives the target
    assert gates().max() < 0
    for _ in range(400):
        optimizer.zero_grad()
        (block(image) - target).square().mean().backward()
        optimizer.step()
    assert gates().max() > 0

    block.eval()
    closed = image.clone().requires_grad_()
    with torch.no_grad():
        block.expand.bias[:8] = -10.0
    (gradient,) = torch.autograd.grad(block(closed).sum(), [closed])
    assert torch.equal(gradient, torch.ones_like(gradient)), "refinement sees the true gradient"
