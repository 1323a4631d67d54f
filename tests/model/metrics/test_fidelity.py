"""PSNR and MS-SSIM on 8-bit pictures."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_msssim import ms_ssim as reference

from model.metrics import fidelity
from tests.conftest import photo_like


def pair(height: int, width: int, channels: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    image = photo_like(height, width, channels)
    noise = np.random.default_rng(0).normal(0, 9, image.shape)
    return image, (image + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(161, 161, 3), (177, 302, 1), (333, 200, 3), (256, 170, 3)])
@pytest.mark.parametrize("strip", [1 << 12, 1 << 17])
def test_ms_ssim_is_the_fields_whatever_the_strips(
    size: tuple[int, int, int], strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fidelity, "_STRIP", strip)
    a, b = pair(*size)
    tensors = (torch.tensor(x, dtype=torch.float32).permute(2, 0, 1)[None] for x in (a, b))
    assert fidelity.ms_ssim(a, b) == pytest.approx(float(reference(*tensors, data_range=255)), abs=2e-6)


def test_ms_ssim_is_defined_for_small_pictures_and_is_one_for_equal_ones() -> None:
    for size in ((1, 1, 3), (1, 300, 1), (50, 60, 3), (170, 20, 3)):
        a, b = pair(*size)
        assert fidelity.ms_ssim(a, a) == pytest.approx(1)
        assert 0 <= fidelity.ms_ssim(a, b) < 1


def test_psnr_is_exact_over_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "_STRIP", 1000)
    a, b = pair(100, 90, 3)
    error = int(np.square(a.astype(int) - b).sum())
    assert fidelity.squared_error(a, b) == error
    assert fidelity.psnr(a, b) == 10 * math.log10(255**2 * a.size / error)
    assert fidelity.psnr(a, a) == math.inf
