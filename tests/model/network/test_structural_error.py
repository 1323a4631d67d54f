"""The structural error: right on what is known, finite gradients everywhere, worse pictures cost more."""

import pytest
import torch

from model.network.structural_error import structural_error
from tests.conftest import photo_like


def photographs(count: int, height: int, width: int) -> torch.Tensor:
    return torch.stack([torch.from_numpy(photo_like(height, width, seed=i)).float() / 255 for i in range(count)])


def test_an_image_has_no_error_beside_itself_and_a_positive_one_beside_another() -> None:
    target = photographs(2, 96, 128)
    assert structural_error(target, target).abs().max() < 1e-5
    assert structural_error(target.flip(1), target).min() > 0.1


def test_the_order_of_the_two_images_does_not_matter() -> None:
    target = photographs(2, 96, 64)
    output = target + 0.05 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(structural_error(output, target), structural_error(target, output), rtol=1e-4)


def test_every_image_of_a_batch_is_judged_by_itself() -> None:
    target = photographs(3, 64, 64)
    output = (target + torch.tensor([0.0, 0.02, 0.1])[:, None, None, None] * torch.randn(target.shape)).clamp(0, 1)
    together = structural_error(output, target)
    alone = torch.cat([structural_error(output[i : i + 1], target[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_the_gradient_is_that_of_the_value() -> None:
    torch.manual_seed(0)
    target = torch.rand(1, 16, 16, 3, dtype=torch.float64)
    output = (0.1 + 0.8 * torch.rand(1, 16, 16, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: structural_error(x, target), (output,), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (64, 64), (65, 130), (1, 1), (3, 200)])
def test_crops_of_any_size_are_judged(size: tuple[int, int]) -> None:
    target = torch.rand(1, *size, 3, generator=torch.Generator().manual_seed(2))
    output = (target + 0.2).clamp(0, 1)
    assert structural_error(target, target).abs() < 1e-5
    assert 0 < structural_error(output, target).item() < 2


def test_colour_of_single_pixels_costs_less_than_their_brightness() -> None:
    target = torch.full((1, 128, 128, 3), 0.5)
    noise = 0.04 * torch.randn(1, 128, 128, generator=torch.Generator().manual_seed(3))
    bright = target + noise[..., None]
    # Red and green against each other: about as much energy, hardly any luminance.
    coloured = target + torch.stack([1.5 * noise, -0.75 * noise, torch.zeros_like(noise)], -1)
    assert structural_error(coloured, target) < structural_error(bright, target)
