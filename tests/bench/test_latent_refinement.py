import pytest
import torch
from torch import Tensor

from bench.latent_refinement import MOST_MOVED, refined, rounded
from model.network.loss import distortion
from model.network.network import Network
from tests.conftest import TINY, photo_like

QUALITY = torch.tensor([20])


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return Network(TINY).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.from_numpy(photo_like(64, 64, seed=1)[None]).float() / 255


def perceptual(network: Network, y: Tensor, image: Tensor) -> float:
    with torch.no_grad():
        output = network.synthesis(rounded(network, y, QUALITY)[3], QUALITY)
        return float(distortion("perceptual", output, image))


def test_no_step_leaves_the_latents_as_they_are(network: Network, image: Tensor) -> None:
    y = network.analysis(image)
    assert torch.equal(refined(network, y, image, QUALITY, 0, "perceptual"), y)


def test_steps_lower_the_distortion_and_move_no_latent_far(network: Network, image: Tensor) -> None:
    y = network.analysis(image)
    better = refined(network, y, image, QUALITY, 3, "perceptual")
    assert perceptual(network, better, image) < perceptual(network, y, image)
    assert float(((better - y) * network.gain(QUALITY)).abs().max()) <= MOST_MOVED * 1.001
