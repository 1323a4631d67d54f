"""PSNR of 8-bit pictures."""

import math

import numpy as np
import pytest

from model.metrics import psnr as module
from model.metrics.psnr import psnr, squared_error
from tests.model.metrics.pairs import noisy_pair


def test_psnr_is_exact_over_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STRIP", 1000)
    a, b = noisy_pair(100, 90, 3)
    error = int(np.square(a.astype(int) - b).sum())
    assert squared_error(a, b) == error
    assert psnr(a, b) == 10 * math.log10(255**2 * a.size / error)
    assert psnr(a, a) == math.inf
