"""A network without its idle blocks computes the same."""

import torch

from model.core.config import CodecConfig
from model.network.idle_blocks import without_idle_blocks
from model.network.network import Network

CONFIG = CodecConfig(
    patch_channels=16,
    latent_channels=32,
    hyper_channels=8,
    hyper_width=16,
    context_width=16,
    scale_width=8,
    analysis_blocks=(1, 3),
    synthesis_blocks=(3, 1),
)
IDLE = ["analysis.coarse.0", "analysis.coarse.2", "synthesis.coarse.1"]


def a_network() -> Network:
    """All blocks do something but three, which add a constant; one of them comes before a block that works."""
    torch.manual_seed(0)
    network = Network(CONFIG)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("project.weight", "project.bias")):
                torch.nn.init.normal_(parameter, std=0.05)
        for name in IDLE:
            network.get_parameter(f"{name}.expand.bias")[: CONFIG.latent_channels] = -1e3
    return network.eval()


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(1)
    return [(torch.rand(2, 64, 128, 3, generator=random), torch.tensor([20, 50])) for _ in range(2)]


def test_idle_blocks_are_left_out_and_nothing_else_changes() -> None:
    network = a_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    smaller, missing = without_idle_blocks(network, batches())
    assert missing == IDLE
    assert (smaller.config.analysis_blocks, smaller.config.synthesis_blocks) == ((1, 1), (2, 1))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())

    image, quality = torch.rand(1, 64, 192, 3), torch.tensor([40])
    with torch.no_grad():
        y, other = network.analysis(image), smaller.analysis(image)
        inside = slice(1, -1)  # at the border a constant is zero beyond it for the kept block's sums, and now it is not
        assert torch.allclose(y[:, inside, inside], other[:, inside, inside], atol=1e-4)
        ours, theirs = network.synthesis(y, quality), smaller.synthesis(y, quality)
        assert torch.allclose(ours[:, 32:-32, 32:-32], theirs[:, 32:-32, 32:-32], atol=1e-4)
        assert (ours - theirs).abs().max() < 0.05


def test_a_network_whose_blocks_all_work_stays_as_it_is() -> None:
    network = a_network()
    with torch.no_grad():
        for name in IDLE:
            network.get_parameter(f"{name}.expand.bias")[: CONFIG.latent_channels] = 0.0
    smaller, missing = without_idle_blocks(network, batches())
    assert not missing and smaller.config == CONFIG
    assert all(torch.equal(value, smaller.state_dict()[name]) for name, value in network.state_dict().items())
