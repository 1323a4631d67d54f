"""Rearrangements have inverses, blocks start as the identity, bfloat16 stays in the branch."""

import pytest
import torch
from torch import nn

from model.layers.blocks import Block, blocks, depth_to_space, set_compute_dtype, space_to_depth


def randomised(channels: int) -> Block:
    block = Block(channels)
    nn.init.normal_(block.project.weight, std=0.1)
    return block


def test_depth_to_space_inverts_space_to_depth() -> None:
    x = torch.randn(2, 24, 40, 5)
    for r in (2, 4, 8):
        assert torch.equal(depth_to_space(space_to_depth(x, r), r), x)


def test_space_to_depth_orders_channels_by_row_column_channel() -> None:
    x = torch.arange(2 * 2 * 3).reshape(1, 2, 2, 3)
    assert space_to_depth(x, 2).flatten().tolist() == list(range(12))


def test_blocks_start_as_the_identity() -> None:
    x = torch.randn(1, 6, 7, 16)
    assert torch.equal(blocks(16, 3)(x), x)


def test_a_block_sees_its_3x3_neighbourhood_and_no_more() -> None:
    torch.manual_seed(0)
    block, x = randomised(8), torch.randn(1, 9, 9, 8)
    changed = x.clone()
    changed[0, 4, 4] += 1
    moved = (block(x) - block(changed)).abs().amax(-1)[0] > 0
    assert moved[3:6, 3:6].all()
    assert moved.sum() == 9


def test_bfloat16_is_confined_to_the_branch() -> None:
    torch.manual_seed(0)
    network, x = nn.Sequential(randomised(16), randomised(16)), 1000 + torch.randn(1, 5, 5, 16)
    exact = network(x)
    set_compute_dtype(network, torch.bfloat16)
    rounded = network(x)
    assert rounded.dtype == torch.float32
    branch = (exact - x).abs().max()
    assert 0 < (rounded - exact).abs().max() < 0.05 * branch


@pytest.mark.parametrize(("dtype", "final"), [(torch.float32, False), (torch.bfloat16, False), (torch.float32, True)])
def test_inference_gives_the_output_of_training_and_leaves_the_input_unchanged(dtype: torch.dtype, final: bool) -> None:
    block = Block(16)
    torch.nn.init.normal_(block.project.weight)
    set_compute_dtype(block, dtype, final=final)
    x = torch.randn(2, 70, 40, 16)  # more positions than are processed at a time
    kept = x.clone()
    trained = block(x)
    with torch.inference_mode():
        inferred = block(x)
    assert torch.equal(x, kept)
    # A depthwise sum in another order may be rounded to the neighbouring bfloat16.
    step = 1e-5 if dtype == torch.float32 else 2**-6
    torch.testing.assert_close(inferred, trained.detach(), rtol=step, atol=step)
    assert ((inferred - trained).abs() > 1e-5 * (1 + trained.abs())).float().mean() < 1e-3


def test_in_bfloat16_inference_is_no_further_from_float32_than_training() -> None:
    torch.manual_seed(0)
    block = randomised(64)
    x = torch.randn(1, 40, 40, 64)
    exact = block(x).detach()
    set_compute_dtype(block, torch.bfloat16, final=True)
    trained = block(x).detach()
    with torch.inference_mode():
        inferred = block(x)
    assert 0 < (inferred - exact).square().mean() <= 1.05 * (trained - exact).square().mean()
