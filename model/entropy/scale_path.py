"""Scale indices from integers (z, symbols of earlier passes), in exact integer arithmetic.

    z --FixedLinear, unpatch 2, clip--> --FixedLinear, clip--> --FixedLinear, unpatch 2, clip--> features [h, w, S]
    features --FixedLinear--> indices of the first pass
    log-sizes of first-pass symbols --3x3 sums, clip--> near
    [features, near] --FixedLinear, clip--> --FixedLinear--> indices of the second pass

`model.layers.fixed_point` explains why, and why the arithmetic is exact.
"""

import math

import torch
from torch import Tensor, nn

from model.bitstream.coding_passes import PASSES
from model.bitstream.probability_tables import LOG_STEP, SCALE_MIN, SCALES
from model.core.config import CodecConfig
from model.layers.blocks import depth_to_space
from model.layers.fixed_point import ACTIVATION_BITS, FixedLinear, FixedNeighbours, clip_activation, round_to

INDEX_BITS = 2
"""A scale index is the output of the last layer in units of 2^-2."""
LOG_SIZES = tuple(min(255, round(32 * math.log2(1 + n))) for n in range(256))
"""Log-sizes of 0, 1 ... 255, in sixteenths; the last one is that of all larger numbers, too."""
_ACTIVATIONS = torch.tensor(LOG_SIZES) / 2**ACTIVATION_BITS


def scale_of(index: Tensor) -> Tensor:
    """Standard deviation of a scale index, in quantisation steps; differentiable."""
    return SCALE_MIN * torch.exp(index * LOG_STEP)


def log_size(symbols: Tensor) -> Tensor:
    """Log-size of symbols: about `2 log2(1 + |s|)`, a multiple of 1/16 in 0..255/16, by table.

    Args:
        symbols: integers in any float dtype.
    """
    return torch.take(_ACTIVATIONS.to(symbols.device), symbols.detach().abs().clamp_(max=len(LOG_SIZES) - 1).long())


class ScaleContext(nn.Module):
    """Scale indices of one pass, from the features of z and the symbols of the passes before (zero elsewhere)."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        s, m = config.scale_width, config.latent_channels
        self.near = FixedNeighbours(m)
        self.join = FixedLinear(s + m, 2 * s, by_quality=True)
        self.out = FixedLinear(2 * s, m, by_quality=True, bias=2.0)

    def forward(self, features: Tensor, symbols: Tensor, quality: Tensor) -> Tensor:
        """Map features `[B, h, w, S]` and symbols `[B, h, w, M]` to scale indices, integers 0..63 in float32."""
        near = clip_activation(self.near(log_size(symbols)))
        hidden = clip_activation(self.join(torch.cat([features, near], -1), quality))
        return to_index(self.out(hidden, quality))


class ScalePath(nn.Module):
    """Scale indices of all passes; training and coding use the same arithmetic."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        s, m = config.scale_width, config.latent_channels
        self.up1 = FixedLinear(config.hyper_channels, 4 * s, by_quality=True)
        self.mix = FixedLinear(s, s)
        self.up2 = FixedLinear(s, 4 * s, by_quality=True)
        self.out = FixedLinear(s, m, by_quality=True, bias=2.0)
        self.later = nn.ModuleList(ScaleContext(config) for _ in range(PASSES - 1))

    def features(self, z: Tensor, quality: Tensor) -> Tensor:
        """Map integers z `[B, h/4, w/4, Z]` in -127..127 to features `[B, h, w, S]`."""
        x = clip_activation(depth_to_space(self.up1(z / 2**ACTIVATION_BITS, quality), 2))
        x = clip_activation(self.mix(x))
        return clip_activation(depth_to_space(self.up2(x, quality), 2))

    def first(self, features: Tensor, quality: Tensor) -> Tensor:
        """Scale indices `[B, h, w, M]` of the first pass, integers 0..63 in float32."""
        return to_index(self.out(features, quality))

    def is_exact(self) -> bool:
        """Whether float32 holds every sum of these weights exactly."""
        return all(layer.is_exact() for layer in self.modules() if isinstance(layer, FixedLinear))


def to_index(x: Tensor) -> Tensor:
    """Round sums, multiples of 2^-11, to scale indices, integers 0..63 with a gradient."""
    return round_to(x * 2**INDEX_BITS, 0).clamp(0, SCALES - 1)
