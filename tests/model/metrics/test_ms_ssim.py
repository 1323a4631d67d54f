"""MS-SSIM of 8-bit pictures."""

import pytest
import torch
from pytorch_msssim import ms_ssim as reference

from model.metrics import ms_ssim as module
from model.metrics.ms_ssim import ms_ssim
from tests.model.metrics.pairs import noisy_pair


@pytest.mark.parametrize("size", [(161, 161, 3), (177, 302, 1), (333, 200, 3), (256, 170, 3)])
@pytest.mark.parametrize("strip", [1 << 12, 1 << 17])
def test_ms_ssim_equals_that_of_pytorch_msssim_for_any_strips(
    size: tuple[int, int, int], strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STRIP", strip)
    a, b = noisy_pair(*size)
    tensors = (torch.tensor(x, dtype=torch.float32).permute(2, 0, 1)[None] for x in (a, b))
    assert ms_ssim(a, b) == pytest.approx(float(reference(*tensors, data_range=255)), abs=2e-6)


def test_ms_ssim_is_defined_for_small_pictures_and_is_one_for_equal_ones() -> None:
    for size in ((1, 1, 3), (1, 300, 1), (50, 60, 3), (170, 20, 3)):
        a, b = noisy_pair(*size)
        assert ms_ssim(a, a) == pytest.approx(1)
        assert 0 <= ms_ssim(a, b) < 1
