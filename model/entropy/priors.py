"""Distributions of symbols and hyper-latents, with which training estimates the rate.

Coding does not compute them: it reads integer tables from the checkpoint
(`model.bitstream.probability_tables`).
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.bitstream.probability_tables import HYPER_GROUP, HYPER_MAX, SCALES, mixture_counts, scale_table, to_counts
from model.core.config import QUALITIES
from model.entropy.scale_path import scale_of
from model.entropy.training_rate import FLOOR, bits_by_table, looked_up, with_slope_of_noise

LARGEST_IN_TABLE = 1 << 12
"""Absolute value from which symbols cost the same in training: all are improbable by any scale."""
ESCAPE_BITS = 28.0
"""Bits of an escape: two or three bytes for its position, one for its value (`model.bitstream.escapes`)."""


class LatentPrior(nn.Module):
    """Distribution of the symbols of each scale index, and the reconstruction point in their bins.

    Each of the 64 distributions is a zero-mean mixture of two Gaussians around the index's scale:
    residuals are peaked and heavy-tailed, the more so where most symbols are zero (measured: 5 %
    fewer bits than with one Gaussian). It is learned with the network; `tables` turns it into
    integers once, for the checkpoint; coding reads those.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spread = nn.Parameter(torch.log(torch.tensor([0.7, 1.4])).repeat(SCALES, 1))
        self.logit = nn.Parameter(torch.zeros(SCALES, 2))
        self.offset = nn.Parameter(torch.zeros(SCALES, 2))

    def forward(self, residual: Tensor, symbols: Tensor, index: Tensor) -> Tensor:
        """Bits of each symbol.

        The value is that of the coded symbols, and so is the gradient of the distributions. The
        gradient of the latents is that of uniform noise in place of rounding (Balle et al. 2016).

        Args:
            residual: latents in quantisation steps from their mean, float.
            symbols: the rounded residuals, integers in float.
            index: scale indices, integers in float with a gradient.
        """
        noisy = residual + torch.empty_like(residual).uniform_(-0.5, 0.5)
        inverse, weight = torch.exp(-self.spread.detach()), torch.softmax(self.logit.detach(), -1)
        return with_slope_of_noise(self._tabulated(symbols, index), noisy, index, inverse, weight)

    def _tabulated(self, symbols: Tensor, index: Tensor) -> Tensor:
        """Bits of each symbol, by a table of all that occur."""
        size = symbols.detach().abs().nan_to_num(nan=0.0).clamp_(max=LARGEST_IN_TABLE).long()
        count = int(size.max()) + 1
        with torch.enable_grad():
            rows = torch.arange(float(SCALES), device=index.device)[:, None].repeat(1, count).requires_grad_()
            table = self._bits(torch.arange(float(count), device=index.device).expand(SCALES, -1), rows)
            (slope,) = torch.autograd.grad(table.sum(), rows, retain_graph=True)
        return bits_by_table(table, slope, size, index)

    def bits(self, symbols: Tensor, index: Tensor) -> Tensor:
        """Bits of integers `symbols` with scale indices `index`, both in float."""
        return self._bits(symbols, index)

    @torch.no_grad()
    def costs(self) -> Tensor:
        """Bits of the symbols 0, 1 and 2 of each scale index, float `[SCALES, 3]`, for the encoder's rounding."""
        index = torch.arange(SCALES, device=self.spread.device)[:, None].expand(-1, 3)
        costs = self._bits(torch.arange(3.0, device=index.device).expand(SCALES, -1), index)
        costs[0] = torch.tensor([0.0, ESCAPE_BITS, ESCAPE_BITS])  # symbols of index 0 are not coded, others are escapes
        return costs

    def _bits(self, value: Tensor, index: Tensor) -> Tensor:
        row = index.detach().long()
        inverse = torch.exp(-self.spread)[row] / (scale_of(index)[..., None] * math.sqrt(2))
        size = value.abs()[..., None]
        bins = 0.5 * (torch.erfc((size - 0.5) * inverse) - torch.erfc((size + 0.5) * inverse))
        probability = (torch.softmax(self.logit, -1)[row] * bins).sum(-1)
        return -torch.log2(probability.clamp(min=FLOOR))

    def reconstruct(self, symbols: Tensor, index: Tensor) -> Tensor:
        """Symbols moved towards zero by a learned offset: one for absolute value 1, one for larger ones."""
        larger = symbols.detach().abs() > 1.5
        offset = looked_up(self.offset, index.detach().long().mul_(2).add_(larger))
        return symbols - torch.sign(symbols) * offset

    @torch.no_grad()
    def tables(self) -> list[NDArray[np.int32]]:
        """Counts of the symbols -limit..limit for each scale index; the outermost include everything beyond."""
        weight = torch.softmax(self.logit.double(), -1).numpy()
        sigma = np.array(scale_table())[:, None] * np.exp(self.spread.double().numpy())
        return [mixture_counts(s.tolist(), w.tolist()) for s, w in zip(sigma, weight, strict=True)]


class HyperPrior(nn.Module):
    """Fully factorised prior of z: a mixture of three logistics per channel and group of qualities."""

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
        return -torch.log2(self._probability(z[..., None], mean, log_scale, logit).clamp(min=FLOOR))

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
