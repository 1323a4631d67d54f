"""Units that never open are marked, and coding without them gives what it gave with them."""

import copy

import pytest
import torch

from model.core.config import CodecConfig
from model.entropy.entropy_model import EntropyModel
from model.layers.blocks import Block, set_compute_dtype
from model.layers.fused_branch import UNITS, computed_units
from model.network.closed_units import blocks_of
from model.network.idle_units import mark_idle_units
from model.network.network import Network

CONFIG = CodecConfig(
    patch_channels=48,
    latent_channels=64,
    hyper_channels=8,
    hyper_width=32,
    context_width=32,
    scale_width=16,
    analysis_blocks=(1, 1),
    synthesis_blocks=(1, 1),
)
CLOSED = {"synthesis.fine.0": 40, "analysis.coarse.0": 3}
"""Blocks of the network below, and how many of their units are closed."""


def a_network(*, features: bool) -> Network:
    """Some units stay closed, and perhaps all features of z for the means."""
    torch.manual_seed(0)
    network = Network(CONFIG)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("project.weight", "project.bias", "first.weight", "out.weight")):
                torch.nn.init.normal_(parameter, std=0.05)
            if name.endswith("expand.weight"):
                torch.nn.init.normal_(parameter)
        for name, count in CLOSED.items():
            network.get_parameter(f"{name}.expand.bias")[:count] = -1e6
        if not features:
            network.means.up2.bias.fill_(-1e6)
    return network.requires_grad_(False).eval()


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(1)
    return [(torch.rand(2, 64, 128, 3, generator=random), torch.tensor([20, 50])) for _ in range(2)]


@pytest.mark.parametrize("features", [True, False])
def test_a_marked_network_computes_the_same(features: bool) -> None:
    network = a_network(features=features)
    marked = copy.deepcopy(network)
    found = mark_idle_units(marked, iter(batches()))
    assert {name: found[name][0] for name in CLOSED} == CLOSED
    assert found["means.up2"] == (0 if features else 32, 32)
    image, quality = batches()[0]
    with torch.no_grad():
        before, after = network.analyse(image, quality), marked.analyse(image, quality)
        assert torch.equal(before.z, after.z)
        torch.testing.assert_close(before.latent, after.latent, atol=1e-4, rtol=1e-4)
        ours, theirs = (each.synthesis(before.latent, quality) for each in (network, marked))
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert EntropyModel(marked.means, marked.scales, marked.prior).reads_wide == features


@pytest.mark.parametrize(("bias", "idle"), [(-1e-3, False), (-1e6, True)])
def test_only_a_gate_that_no_picture_opens_is_idle(bias: float, idle: bool) -> None:
    network = a_network(features=True)
    expand = blocks_of(network)["synthesis.fine.0"].expand
    with torch.no_grad():
        expand.weight[47], expand.bias[47] = torch.eye(48)[5], bias
    mark_idle_units(network, batches())
    assert bool(expand.weight[47].any()) == (not idle)


@pytest.mark.parametrize(("closed", "computed"), [(0, 48), (1, 48), (16, 32), (20, 32), (47, 16), (48, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_prepared_block_leaves_marked_units_out(closed: int, computed: int, dtype: torch.dtype) -> None:
    torch.manual_seed(closed)
    block = Block(48)
    with torch.no_grad():
        torch.nn.init.normal_(block.project.weight, std=0.1)
        chosen = torch.randperm(48)[:closed]
        block.expand.weight[chosen], block.expand.bias[chosen] = 0.0, 0.0
    assert len(computed_units(block.expand)) == computed and computed % UNITS == 0
    x = torch.randn(1, 5, 7, 48)
    set_compute_dtype(block, dtype)
    with torch.no_grad():
        expected = block(x)
        set_compute_dtype(block, dtype, final=True)
        tolerance = 1e-5 if dtype == torch.float32 else 2e-2
        torch.testing.assert_close(block(x), expected, atol=tolerance, rtol=tolerance)
