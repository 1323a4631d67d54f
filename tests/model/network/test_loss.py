"""The training loss has known values in simple cases, and gradients for every weight."""

import math
from pathlib import Path

import pytest
import torch

from model.bitstream.coding_passes import PASSES
from model.bitstream.probability_tables import LOG_STEP, SCALE_MIN
from model.checkpoint import load, serialise
from model.codec import Codec
from model.core.picture import Picture
from model.entropy.scale_path import INDEX_BITS
from model.network.loss import DISTORTIONS, Distortion, distortion, hide_patches, rate_distortion
from model.network.network import Network, TrainingOutput, randomly_initialised
from tests.conftest import TINY, photo_like


def images(count: int, side: int) -> torch.Tensor:
    return torch.stack([torch.from_numpy(photo_like(side, side, seed=i)).float() / 255 for i in range(count)])


def test_mse_and_l2_agree_at_one_level() -> None:
    target = torch.rand(2, 8, 8, 3) * 0.9
    one_level = target + 1 / 255
    for kind in ("mse", "l2"):
        assert torch.allclose(distortion(kind, one_level, target), torch.ones(2), atol=1e-3)
    assert torch.allclose(distortion("mse", target + 3 / 255, target), torch.full((2,), 9.0), atol=1e-2)
    assert torch.allclose(distortion("l2", target + 3 / 255, target), torch.full((2,), 3.0), atol=1e-2)


def test_ms_ssim_of_an_image_with_itself_is_no_distortion() -> None:
    target = images(2, 192)
    assert distortion("ms-ssim", target, target).abs().max() < 1e-2
    noisy = (target + 0.05 * torch.randn_like(target)).clamp(0, 1)
    assert distortion("ms-ssim", noisy, target).min() > 1


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_every_distortion_trains_every_weight_and_stays_finite(kind: Distortion) -> None:
    torch.manual_seed(0)
    network, target = Network(TINY), images(2, 192)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    quality = torch.tensor([3, 60])
    # Half of the patches are hidden; pure black and white are the limits of the cross-entropy.
    target[0, :64, :64], target[0, 64:128, :64] = 0, 1
    loss = rate_distortion(network(hide_patches(target, torch.rand(2, 12, 12) < 0.5), quality), target, quality, kind)
    assert loss.total.shape == loss.bpp.shape == loss.mse.shape == (2,)
    loss.total.mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    reached = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {name for name, _ in network.named_children()}


def test_rate_is_weighed_against_distortion_by_quality() -> None:
    target = torch.full((2, 64, 64, 3), 0.5)
    estimate = TrainingOutput(target + 2 / 255, torch.full((2,), 4096.0), torch.full((2,), 4096.0))
    loss = rate_distortion(estimate, target, torch.tensor([0, 63]))
    assert torch.allclose(loss.bpp, torch.full((2,), 2.0))
    expected = [(2 + weight * 4) / weight**0.45 for weight in (0.0004, 1.0)]
    assert loss.total.tolist() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_hidden_patches_are_grey_as_a_whole_and_have_the_given_share(ratio: float) -> None:
    torch.manual_seed(1)
    image = torch.rand(4, 128, 192, 3)
    hidden = hide_patches(image, torch.rand(4, 8, 12) < ratio)
    changed = (hidden != image).any(-1).reshape(4, 8, 16, 12, 16).float().mean((2, 4))
    assert set(changed.unique().tolist()) <= {0.0, 1.0}
    assert changed.mean().item() == pytest.approx(ratio, abs=0.08)
    assert (hidden == 0.5).all(-1).float().mean().item() == pytest.approx(ratio, abs=0.08)


@pytest.mark.parametrize("start", [Network, randomly_initialised])
def test_training_lowers_the_loss_of_a_batch_within_30_steps(start: type[Network]) -> None:
    torch.manual_seed(0)
    network, target = start(TINY), images(2, 64)
    quality = torch.tensor([15, 50])
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(30):
        loss = rate_distortion(network(target, quality), target, quality).total.mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    assert all(map(math.isfinite, losses))
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_the_estimated_rate_is_that_of_the_real_payload(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, picture = Network(TINY), Picture(photo_like(640, 512))
    image, row = torch.from_numpy(picture.pixels)[None].float() / 255, torch.tensor([40])
    with torch.no_grad():
        # Training learns the scale of each channel first. Without it most bytes would be
        # escapes.
        deviation = network.analyse(image, row).symbols.float().std((0, 1, 2)).clamp(min=SCALE_MIN)
        for layer in ("scales.out", *(f"scales.later.{i}.out" for i in range(PASSES - 1))):
            network.get_parameter(f"{layer}.bias").copy_(torch.log(deviation / SCALE_MIN) / LOG_STEP / 2**INDEX_BITS)
            network.get_parameter(f"{layer}.weight").mul_(0.2)
    for name, data in serialise(network).items():
        (tmp_path / name).write_bytes(data)
    codec, network = Codec.load(tmp_path), load(tmp_path).network
    (payload,) = codec.compress([picture], 40)
    with torch.inference_mode():
        coded = network.analyse(image, row)
        bits = network.prior.bits(coded.symbols.float(), coded.indices.float()).sum()
        bits += network.hyper_prior(coded.z.float(), row).sum()
    assert 8 * len(payload) == pytest.approx(bits.item(), rel=0.03)
