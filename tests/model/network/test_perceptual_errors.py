"""What the structural and the visible error share: more damage costs more, gradients are finite everywhere."""

from collections.abc import Callable

import pytest
import torch

from model.network.structural_error import structural_error
from model.network.visible_error import visible_error
from tests.model.network.test_structural_error import photographs

Error = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
ERRORS = (structural_error, visible_error)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("damage", ["noise", "blur", "blocks"])
def test_more_damage_is_more_error(error: Error, damage: str) -> None:
    target = photographs(2, 128, 128)
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    planes = target.permute(0, 3, 1, 2)
    errors = []
    for strength in (1, 2, 4):
        if damage == "noise":
            output = (target + 0.01 * strength * noise).clamp(0, 1)
        elif damage == "blur":
            output = torch.nn.functional.avg_pool2d(
                planes, 2 * strength + 1, 1, strength, count_include_pad=False
            ).permute(0, 2, 3, 1)
        else:
            small = torch.nn.functional.avg_pool2d(planes, 2 * strength)
            output = small.repeat_interleave(2 * strength, 2).repeat_interleave(2 * strength, 3).permute(0, 2, 3, 1)
        errors.append(error(output, target))
    assert (errors[0] < errors[1]).all() and (errors[1] < errors[2]).all()


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(
    ("output", "target"),
    [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.5, 0.5), (-0.3, 0.0), (1.4, 1.0), (1e-8, 0.0)],
)
def test_gradients_are_finite_on_black_white_flat_and_out_of_range(error: Error, output: float, target: float) -> None:
    image = torch.full((1, 64, 64, 3), output, requires_grad=True)
    error(image, torch.full((1, 64, 64, 3), target)).sum().backward()  # type: ignore[no-untyped-call]
    assert image.grad is not None and image.grad.isfinite().all()
