"""The visible error: follows butteraugli, hides errors in busy places, finite gradients everywhere."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from bench import butteraugli
from model.network.visible_error import NORM, TILE, distances, visible_error
from tests.conftest import photo_like
from tests.model.network.test_structural_error import photographs


def noise(shape: tuple[int, ...] | torch.Size, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_an_image_has_no_error_beside_itself_and_a_positive_one_beside_another() -> None:
    target = photographs(2, 96, 128)
    assert visible_error(target, target).abs().max() < 1e-5
    assert visible_error(target.flip(1), target).min() > 1


def test_every_image_of_a_batch_is_judged_by_itself() -> None:
    target = photographs(3, 64, 64)
    output = (target + torch.tensor([0.0, 0.02, 0.1])[:, None, None, None] * noise(target.shape)).clamp(0, 1)
    together = visible_error(output, target)
    alone = torch.cat([visible_error(output[i : i + 1], target[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, rtol=1e-3, atol=1e-5)


def test_an_error_of_a_tile_counts_by_its_share_of_the_image() -> None:
    target = photographs(1, TILE, TILE).repeat(1, 2, 1, 1)
    output = target.clone()
    output[:, :TILE] += 0.03 * noise((1, TILE, TILE, 3))
    alone = visible_error(output[:, :TILE], target[:, :TILE])
    assert torch.allclose(visible_error(output, target), alone * 0.5 ** (2 / NORM), rtol=1e-3)


def test_the_gradient_is_that_of_the_value() -> None:
    torch.manual_seed(0)
    target = torch.rand(1, 7, 7, 3, dtype=torch.float64)
    output = (0.1 + 0.8 * torch.rand(1, 7, 7, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: visible_error(x, target), (output,), eps=1e-6, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (64, 64), (65, 430), (1, 1), (3, 200)])
def test_crops_of_any_size_are_judged(size: tuple[int, int]) -> None:
    target = torch.rand(1, *size, 3, generator=torch.Generator().manual_seed(2))
    assert visible_error(target, target).abs() < 1e-5
    assert 0 < visible_error((target + 0.2).clamp(0, 1), target).item() < 2000


def test_noise_is_seen_less_where_the_original_is_busy() -> None:
    busy = 0.5 + 0.15 * noise((1, 128, 128, 1)).expand(-1, -1, -1, 3)
    added = 0.03 * noise((1, 128, 128, 1), seed=1)
    flat = torch.full_like(busy, 0.5)
    assert visible_error(busy + added, busy) < 0.25 * visible_error(flat + added, flat)


def test_weak_and_fine_colour_is_not_seen() -> None:
    flat = torch.full((1, 128, 128, 3), 0.5)
    red_green = torch.tensor([0.01, -0.004, 0.0])
    stripes = (torch.arange(128) % 4 < 2).float()[:, None] * 2 - 1
    brightness = visible_error(flat + 0.004 * stripes, flat)
    assert visible_error(flat + stripes * red_green, flat) < brightness


@pytest.mark.skipif(butteraugli.PROGRAM is None, reason="butteraugli_main is not installed (Debian: libjxl-devtools)")
def test_distances_follow_those_of_butteraugli() -> None:
    """JPEG files and noise: 3-norms of the map, in logarithms, rise together. (Weak blur counts up to 1.4 times.)"""
    pairs = []
    for seed in range(3):
        original = photo_like(192, 192, seed=seed)
        for name in ("jpeg 30", "jpeg 60", "jpeg 90", "noise"):
            changed = damaged(original, name)
            one, other = (torch.from_numpy(pixels)[None].float() / 255 for pixels in (changed, original))
            ours = distances(one, other).double()
            norms = [float(ours.pow(p).mean() ** (1 / p)) for p in (3, 6, 12)]  # as butteraugli_main's "3-norm"
            distance = butteraugli.distance(original, changed)
            assert distance is not None
            pairs.append((np.log(np.mean(norms)), np.log(distance)))
    ours_and_theirs = np.array(pairs).T
    assert np.corrcoef(ours_and_theirs)[0, 1] > 0.97
    assert abs(np.subtract(*ours_and_theirs)).max() < 0.15


def damaged(original: np.ndarray, name: str) -> np.ndarray:
    if name == "noise":
        added = 4 * np.random.default_rng(0).standard_normal(original.shape)
        return (original + added).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(original).save(file, "JPEG", quality=int(name.split()[1]))
    return np.array(Image.open(file))
