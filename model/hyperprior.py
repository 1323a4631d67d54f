"""Hyper-latent and means: the floating-point half of the entropy model (the integer half is `model.scale_path`).

A mistake in a mean's last bit moves a pixel by a rounding step, never the parsing of the stream: symbols are coded as
differences from the mean, by distributions that depend on integers alone. Mean and scale hyperprior with two passes:
Minnen et al. 2018; checkerboard: He et al. 2021.
"""

import torch
from torch import Tensor, nn

from model.config import PLAIN, CodecConfig
from model.layers import Block, depth_to_space, space_to_depth
from model.quality import QualityRows


def first_pass_mask(height: int, width: int, channels: int, device: torch.device | str = "cpu") -> Tensor:
    """Bool `[h, w, M]`: True where a latent belongs to the first pass (a checkerboard, inverted on odd channels)."""
    y, x, c = (torch.arange(n, device=device) for n in (height, width, channels))
    return (y[:, None, None] + x[None, :, None] + c[None, None, :]) % 2 == 0


class HyperAnalysis(nn.Module):
    """Scaled latents `[B, h, w, M]` (sides multiples of 4) to z before rounding, `[B, h/4, w/4, Z]`."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        w = config.hyper_width
        self.inner = nn.Linear(config.latent_channels + PLAIN, w)
        self.rows = QualityRows(w)
        self.block1 = Block(w)
        self.down1 = nn.Linear(4 * w, w)
        self.block2 = Block(w)
        self.down2 = nn.Linear(4 * w, config.hyper_channels)

    def forward(self, scaled: Tensor, y: Tensor, quality: Tensor) -> Tensor:
        """`scaled` is y in quantisation steps; y itself gives the local averages."""
        x = torch.cat([torch.log1p(scaled.abs()), y[..., :PLAIN]], -1)
        x = torch.relu(self.inner(x) + self.rows(quality))
        x = torch.relu(self.down1(space_to_depth(self.block1(x), 2)))
        z: Tensor = self.down2(space_to_depth(self.block2(x), 2))
        return z * 4


class Means(nn.Module):
    """Means of both passes, in units of y (not of quantisation steps): the same numbers serve every quality."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        w, c, m = config.hyper_width, config.context_width, config.latent_channels
        self.up1 = nn.Linear(config.hyper_channels, 4 * w)
        self.block1 = Block(w)
        self.up2 = nn.Linear(w, 4 * w)
        self.rows = QualityRows(w)
        self.block2 = Block(w)
        self.first = nn.Linear(w, m)
        self.join = nn.Linear(w + m, c)
        self.block3 = Block(c)
        self.second = nn.Linear(c, m)
        for layer in (self.first, self.second):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def features(self, z: Tensor, quality: Tensor) -> Tensor:
        """Hyper-latents `[B, h/4, w/4, Z]` to features `[B, h, w, W]`."""
        x = self.block1(torch.relu(depth_to_space(self.up1(z / 4), 2)))
        x = depth_to_space(self.up2(x), 2) + self.rows(quality)
        out: Tensor = self.block2(torch.relu(x))
        return out

    def first_pass(self, features: Tensor) -> Tensor:
        """Means of the first pass, `[B, h, w, M]`."""
        means: Tensor = self.first(features)
        return means

    def second_pass(self, features: Tensor, first: Tensor) -> Tensor:
        """Means of the second pass, given the first pass's reconstruction (zero where the second pass is)."""
        means: Tensor = self.second(self.block3(self.join(torch.cat([features, first], -1))))
        return means
