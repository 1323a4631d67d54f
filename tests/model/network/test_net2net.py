"""A deepened or widened network starts with the function of the given one."""

import pytest
import torch
from torch.testing import assert_close

from model.core.config import CodecConfig
from model.core.errors import MaepressError
from model.network.closed_units import redraw_closed_units
from model.network.net2net import deepened, widened
from model.network.network import Network


def _network() -> Network:
    torch.manual_seed(0)
    config = CodecConfig(
        patch_channels=16, latent_channels=32, hyper_channels=8, hyper_width=16, context_width=16, scale_width=8
    )
    network = Network(config)
    for stage in ("analysis", "synthesis"):
        torch.nn.init.normal_(network.get_parameter(f"{stage}.fine.0.project.weight"), std=0.1)
    return network


def test_new_blocks_change_nothing_until_they_learn() -> None:
    network = _network()
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


def test_new_channels_change_nothing_until_they_learn() -> None:
    network = _network()
    wider = widened(network, 24)
    assert wider.config.patch_channels == 24
    image, quality = torch.rand(2, 64, 128, 3), torch.tensor([40, 9])
    noise = torch.zeros(2, 1, 2, network.config.hyper_channels)
    given = network(image, quality, noise)
    assert_close(wider(image, quality, noise).image, given.image, atol=1e-6, rtol=0)

    drawn = redraw_closed_units([wider], [(image, quality)], seed=0)
    assert drawn["analysis.fine.1"][0] >= 8 and drawn["synthesis.fine.1"][0] >= 8, "new units were closed"
    output = wider(image, quality, noise)
    assert_close(output.image, given.image, atol=1e-5, rtol=0)
    (output.image.square().sum() + output.bits_y.sum()).backward()
    for name, new in {
        "analysis.down.weight": lambda g: g.view(-1, 4, 24)[..., 16:],
        "analysis.fine.3.project.weight": lambda g: g[:, 16:],
        "synthesis.up.weight": lambda g: g.view(4, 24, -1)[:, 16:],
        "synthesis.fine.3.project.weight": lambda g: g[16:],
    }.items():
        gradient = wider.get_parameter(name).grad
        assert gradient is not None and new(gradient).abs().max() > 0, f"{name} learns from the first step"


def test_a_network_is_not_made_narrower_nor_wider_than_a_patch() -> None:
    with pytest.raises(MaepressError, match="16 channels cannot be widened to 8"):
        widened(_network(), 8)
    with pytest.raises(MaepressError, match="up to 192 patch channels"):
        widened(_network(), 193)
