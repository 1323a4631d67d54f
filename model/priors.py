"""Distributions of whole numbers: what a symbol costs, as training sees it.

Coding itself never computes them: it reads integer tables from the checkpoint (`model.tables`).
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.config import QUALITIES
from model.tables import HYPER_GROUP, HYPER_MAX, to_counts

_FLOOR = 2.0**-24


def gaussian_bits(residual: Tensor, scale: Tensor) -> Tensor:
    """Bits to code a residual (symbol plus training noise) with a zero-mean Gaussian of that standard deviation, integrated over a unit bin."""
    inverse = 1 / (scale * math.sqrt(2))
    size = residual.abs()
    probability = 0.5 * (torch.erfc((size - 0.5) * inverse) - torch.erfc((size + 0.5) * inverse))
    return -torch.log2(probability.clamp(min=_FLOOR))


class HyperPrior(nn.Module):
    """Fully factorised prior of z: a mixture of three logistics a channel and group of qualities."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        groups = QUALITIES // HYPER_GROUP
        self.mean = nn.Parameter(torch.linspace(-4, 4, 3).repeat(groups, channels, 1))
        self.log_scale = nn.Parameter(torch.full((groups, channels, 3), 1.0))
        self.logit = nn.Parameter(torch.zeros(groups, channels, 3))

    def forward(self, z: Tensor, quality: Tensor) -> Tensor:
        """Bits of each z `[B, h, w, Z]`."""
        group = torch.div(quality, HYPER_GROUP, rounding_mode="floor")
        mean, log_scale, logit = (p[group][:, None, None] for p in (self.mean, self.log_scale, self.logit))
        return -torch.log2(self._probability(z[..., None], mean, log_scale, logit).clamp(min=_FLOOR))

    @staticmethod
    def _probability(z: Tensor, mean: Tensor, log_scale: Tensor, logit: Tensor) -> Tensor:
        inverse = torch.exp(-log_scale)
        bins = torch.sigmoid((z + 0.5 - mean) * inverse) - torch.sigmoid((z - 0.5 - mean) * inverse)
        return (torch.softmax(logit, -1) * bins).sum(-1)

    @torch.no_grad()
    def table(self) -> NDArray[np.int32]:
        """Counts `[groups, Z, 255]` of the integers -127..127."""
        z = torch.arange(-HYPER_MAX, HYPER_MAX + 1, dtype=torch.float64)[None, None, :, None]
        parts = (p.double()[:, :, None] for p in (self.mean, self.log_scale, self.logit))
        return to_counts(self._probability(z, *parts).numpy())
