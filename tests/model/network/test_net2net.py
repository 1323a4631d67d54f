"""A deepened network starts with the function of the given one."""

import torch

from model.core.config import CodecConfig
from model.network.net2net import deepened
from model.network.network import Network


def test_new_blocks_change_nothing_until_they_learn() -> None:
    torch.manual_seed(0)
    config = CodecConfig(
        patch_channels=16, latent_channels=32, hyper_channels=8, hyper_width=16, context_width=16, scale_width=8
    )
    network = Network(config)
    torch.nn.init.normal_(network.get_parameter("analysis.fine.0.project.weight"), std=0.1)
    deeper = deepened(network, fine=2, coarse=1)
    assert deeper.config.analysis_blocks == (6, 3) and deeper.config.synthesis_blocks == (3, 6)
    image, quality = torch.rand(1, 64, 128, 3), torch.tensor([40])
    ours, theirs = network.analyse(image, quality), deeper.analyse(image, quality)
    assert torch.equal(ours.symbols, theirs.symbols) and torch.equal(ours.z, theirs.z)
    assert torch.equal(network.synthesise(ours.latent, quality), deeper.synthesise(theirs.latent, quality))

    output = deeper(image, quality)
    output.image.square().sum().backward()
    gradient = deeper.get_parameter("synthesis.fine.5.project.weight").grad
    assert gradient is not None and gradient.abs().max() > 0, "new blocks learn from the first step"
