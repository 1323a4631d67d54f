"""Scale indices do not depend on threads, batch, precision or memory layout: archives rely on this."""

import pytest
import torch
from torch import Tensor

from model.bitstream.probability_tables import SCALE_MAX, SCALE_MIN, SCALES
from model.core.config import QUALITIES
from model.entropy.scale_path import ScalePath, log_size, scale_of
from model.layers.fixed_point import ACTIVATION_BITS
from tests.conftest import TINY

BATCH, H, W = 8, 12, 20


@pytest.fixture
def path() -> ScalePath:
    torch.manual_seed(5)
    path = ScalePath(TINY)
    with torch.no_grad():
        for name, parameter in path.named_parameters():
            # Weights that reach every index; biases and knots that are not on their grids.
            parameter.mul_(1.7 if "weight" in name else 1.0).add_(0.3 * torch.randn_like(parameter))
    assert path.is_exact()
    return path.requires_grad_(False)


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(6)
    z = torch.randint(-127, 128, (BATCH, H // 4, W // 4, TINY.hyper_channels), generator=generator).float()
    symbols = (torch.randn(BATCH, H, W, TINY.latent_channels, generator=generator) * 6).round()
    return z, symbols, torch.randint(0, QUALITIES, (BATCH,), generator=generator)


def indices(path: ScalePath, z: Tensor, symbols: Tensor, quality: Tensor) -> Tensor:
    features = path.features(z, quality)
    passes = [path.first(features, quality), *(later(features, symbols, quality) for later in path.later)]
    return torch.stack(passes).to(torch.uint8)


def test_the_indices_of_the_test_are_varied(path: ScalePath) -> None:
    for one in indices(path, *inputs()):
        assert one.unique().numel() > SCALES // 2


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_number_of_threads_does_not_matter(path: ScalePath, threads: int) -> None:
    torch.set_num_threads(1)
    reference = indices(path, *inputs())
    torch.set_num_threads(threads)
    assert torch.equal(indices(path, *inputs()), reference)


def test_the_batch_does_not_matter(path: ScalePath) -> None:
    z, symbols, quality = inputs()
    together = indices(path, z, symbols, quality)
    for i in range(BATCH):
        alone = indices(path, z[i : i + 1], symbols[i : i + 1], quality[i : i + 1])
        assert torch.equal(alone[:, 0], together[:, i])


def test_the_precision_does_not_matter(path: ScalePath) -> None:
    z, symbols, quality = inputs()
    single = indices(path, z, symbols, quality)
    assert torch.equal(indices(path.double(), z.double(), symbols.double(), quality), single)


def test_memory_layout_does_not_matter(path: ScalePath) -> None:
    z, symbols, quality = inputs()
    channels_first = z.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert torch.equal(indices(path, channels_first, symbols, quality), indices(path, z, symbols, quality))


def test_training_gradients_reach_every_weight(path: ScalePath) -> None:
    path.requires_grad_(True)
    z, symbols, quality = inputs()
    features = path.features(z, quality)
    later = [context(features, symbols, quality).sum() for context in path.later]
    (path.first(features, quality).sum() + sum(later)).backward()
    for name, parameter in path.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_log_sizes_are_8_bit_activations_that_grow_with_the_symbol() -> None:
    sizes = log_size(torch.arange(-300.0, 301.0)) * 2**ACTIVATION_BITS
    assert torch.equal(sizes, sizes.round())
    assert torch.equal(sizes, sizes.flip(0))
    assert (sizes[300:].diff() >= 0).all()
    assert sizes[300] == 0
    assert sizes.max() <= 255


def test_scales_span_their_range_in_equal_ratios() -> None:
    scales = scale_of(torch.arange(float(SCALES)))
    assert torch.allclose(scales[[0, -1]], torch.tensor([SCALE_MIN, SCALE_MAX]), rtol=1e-4)
    assert torch.allclose(scales[1:] / scales[:-1], scales[1:2] / scales[:1], rtol=1e-4)
