"""Units that stay closed are drawn anew without changing what the network computes."""

import copy

import torch

from model.core.config import CodecConfig
from model.network.closed_units import redraw_closed_units
from model.network.network import Network

CONFIG = CodecConfig(
    patch_channels=16, latent_channels=32, hyper_channels=8, hyper_width=16, context_width=16, scale_width=8
)
BLOCK = "synthesis.fine.1"
DEAD = (0, 3, 5)


def a_network() -> Network:
    """Three gates of one block are closed whatever comes in; all others do something."""
    torch.manual_seed(0)
    network = Network(CONFIG)
    for name, parameter in network.named_parameters():
        if name.endswith("project.weight"):
            torch.nn.init.normal_(parameter, std=0.05)
    with torch.no_grad():
        network.get_parameter(f"{BLOCK}.expand.bias")[list(DEAD)] = -1e3
    return network


def a_batch() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.rand(2, 64, 64, 3, generator=random), torch.tensor([20, 50])


def test_closed_units_are_drawn_anew_and_nothing_changes_until_they_learn() -> None:
    network, (image, quality) = a_network(), a_batch()
    noise = torch.zeros(2, 1, 1, CONFIG.hyper_channels)
    before = network(image, quality, noise).image.detach()
    average = copy.deepcopy(network)
    redrawn = redraw_closed_units((network, average), [(image, quality)], seed=0)
    assert redrawn[BLOCK][0] >= len(DEAD) and redrawn[BLOCK][1] == CONFIG.patch_channels
    output = network(image, quality, noise).image
    assert torch.allclose(output, before, atol=1e-4)
    assert torch.allclose(average(image, quality, noise).image, before, atol=1e-4)

    output.square().sum().backward()
    gradient = network.get_parameter(f"{BLOCK}.project.weight").grad
    assert gradient is not None and (gradient[:, DEAD].abs().amax(0) > 0).all(), "they learn from the first step"
    assert all(closed == 0 for closed, _ in redraw_closed_units((network,), [(image, quality)], seed=0).values())


def test_weights_and_average_get_the_same_new_units() -> None:
    network, batch = a_network(), a_batch()
    average = copy.deepcopy(network)
    with torch.no_grad():
        average.get_parameter("analysis.stem.bias").add_(0.01)
    redraw_closed_units((network, average), [batch], seed=0)
    rows = list(DEAD)
    ours, theirs = (n.get_parameter(f"{BLOCK}.expand.weight")[rows] for n in (network, average))
    assert torch.equal(ours, theirs) and ours.abs().max() > 0
    assert not torch.equal(network.get_parameter("analysis.stem.bias"), average.get_parameter("analysis.stem.bias"))


def test_features_of_z_that_are_all_closed_are_drawn_anew() -> None:
    network, (image, quality) = a_network(), a_batch()
    noise = torch.zeros(2, 1, 1, CONFIG.hyper_channels)
    with torch.no_grad():
        torch.nn.init.normal_(network.means.first.weight, std=0.1)
        network.means.up2.bias.fill_(-1e3)
    before = network(image, quality, noise).image.detach()
    z = torch.randint(-3, 4, (2, 1, 1, CONFIG.hyper_channels)).float()

    def varied() -> torch.Tensor:
        return network.means.features(z, quality).detach().flatten(0, 2).var(0)

    assert varied().max() < 1e-9
    redrawn = redraw_closed_units((network,), [(image, quality)], seed=0)
    assert redrawn["means.up2"] == (CONFIG.hyper_width, CONFIG.hyper_width)
    assert torch.allclose(network(image, quality, noise).image, before, atol=1e-4)
    assert (varied() > 1e-4).float().mean() > 0.5
    assert redraw_closed_units((network,), [(image, quality)], seed=0)["means.up2"][0] == 0, "they stay as they are"
