"""Hyper-latents and means: the floating-point half of the entropy model.

The integer half is `model.entropy.scale_path`.

An error in the last bit of a mean changes a pixel by a rounding step, but never the parsing of the
stream: symbols are coded as differences from the mean, with distributions that depend on integers
alone. Mean and scale hyperprior: Minnen et al. 2018; coding in passes:
`model.bitstream.coding_passes`.
"""

import torch
from torch import Tensor, nn

from model.bitstream.coding_passes import PASSES
from model.core.config import PLAIN, CodecConfig
from model.layers.blocks import Block, depth_to_space, space_to_depth
from model.layers.quality import QualityRows
from model.layers.relu import relu


class HyperAnalysis(nn.Module):
    """Latents `[B, h, w, M]` (sides multiples of 4) to hyper-latents z before rounding, `[B, h/4, w/4, Z]`."""

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
        """Compute z from `scaled`, y in quantisation steps, and from y itself, for the local means."""
        x = torch.cat([torch.log1p(scaled.abs()), y[..., :PLAIN]], -1)
        x = relu(self.inner(x) + self.rows(quality), training=self.training)
        x = relu(self.down1(space_to_depth(self.block1(x), 2)), training=self.training)
        z: Tensor = self.down2(space_to_depth(self.block2(x), 2))
        return z * 4


class MeanContext(nn.Module):
    """Means of one pass, from the features of z and the latents of the passes before (zero elsewhere)."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.join = nn.Linear(config.hyper_width + config.latent_channels, config.context_width)
        self.block = Block(config.context_width, precise=True)
        self.out = nn.Linear(config.context_width, config.latent_channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Tensor, known: Tensor) -> Tensor:
        """Map features `[B, h, w, W]` and known latents `[B, h, w, M]` to means `[B, h, w, M]`."""
        means: Tensor = self.out(self.block(self.join(torch.cat([features, known], -1))))
        return means


class Means(nn.Module):
    """Means of all passes, in units of y (not of quantisation steps): the same numbers serve every quality.

    Always in float32: in bfloat16 they alone changed 1 pixel in 20,000 by two levels.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        w, m = config.hyper_width, config.latent_channels
        self.up1 = nn.Linear(config.hyper_channels, 4 * w)
        self.block1 = Block(w, precise=True)
        self.up2 = nn.Linear(w, 4 * w)
        self.rows = QualityRows(w)
        self.block2 = Block(w, precise=True)
        self.first = nn.Linear(w, m)
        nn.init.zeros_(self.first.weight)
        nn.init.zeros_(self.first.bias)
        self.later = nn.ModuleList(MeanContext(config) for _ in range(PASSES - 1))

    def features(self, z: Tensor, quality: Tensor) -> Tensor:
        """Map z `[B, h/4, w/4, Z]` to features `[B, h, w, W]`."""
        _, x = self.before(z, quality)
        out: Tensor = self.block2(relu(x, training=self.training))
        return out

    def before(self, z: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs `[B, h/2, w/2, W]` of the last linear layer, and features before their rectifier `[B, h, w, W]`."""
        x = self.block1(relu(depth_to_space(self.up1(z / 4), 2), training=self.training))
        return x, depth_to_space(self.up2(x), 2).add_(self.rows(quality))
