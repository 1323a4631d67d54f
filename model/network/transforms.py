"""Analysis and synthesis transforms.

    image [H, W, 3] --patch 8--> 192 --Linear--> N --blocks at 1/8-->
                    --patch 2--> 4N --Linear--> M --blocks at 1/16--> y [H/16, W/16, M]

    y ~ [H/16, W/16, M] --blocks at 1/16--> M --Linear--> 4N --unpatch 2-->
                    N --blocks at 1/8--> --Linear--> 192 --unpatch 8--> image ~ [H, W, 3]

Both start as one orthonormal linear transform and its inverse (`model.layers.dct`). These layers
stay in float32; only the blocks' branches may run in bfloat16 (`model.layers.blocks.Block`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.core.config import DCT_PATCH, CodecConfig
from model.layers import strips
from model.layers.blocks import blocks, depth_to_space, in_strips, space_to_depth
from model.layers.dct import dct_rows, hadamard_rows
from model.layers.quality import QualityRows
from model.layers.surplus import NONE, Surplus


def _linear(rows: Tensor) -> nn.Linear:
    layer = nn.Linear(rows.shape[1], rows.shape[0])
    layer.weight.data.copy_(rows)
    nn.init.zeros_(layer.bias)
    return layer


class Analysis(nn.Module):
    """Image to latents; independent of the quality, so that one evaluation serves all qualities."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        dct, frequencies = dct_rows(config.patch_channels)
        self.stem = _linear(dct)
        self.fine = blocks(config.patch_channels, config.analysis_blocks[0])
        self.down = _linear(hadamard_rows(frequencies, config.latent_channels))
        self.coarse = blocks(config.latent_channels, config.analysis_blocks[1])

    def forward(self, image: Tensor, surplus: Surplus = NONE) -> Tensor:
        """Map images `[B, H, W, 3]`, float in 0..1 or uint8, sides multiples of 16, to y `[B, H/16, W/16, M]`.

        Args:
            image: a picture, or a window of one.
            surplus: what the window has beyond the wanted latents, in latents.
        """
        needed, fine = len(self.coarse), surplus.finer(2)
        x: Tensor = self.fine(self._stem(image), fine, 2 * needed)
        x = strips.halved(x, self.down) if in_strips(x) else self.down(space_to_depth(x, 2))
        y: Tensor = self.coarse(x, surplus.after(needed))
        return y

    def _stem(self, image: Tensor) -> Tensor:
        if image.dtype != torch.uint8:
            out: Tensor = self.stem(space_to_depth(image - 0.5, DCT_PATCH))
            return out
        if in_strips(image):
            return strips.from_pixels(image, self.stem)
        # Scale and shift the weights instead of the image: it saves passes over memory.
        weight, bias = self.stem.weight, self.stem.bias
        return F.linear(space_to_depth(image, DCT_PATCH).to(weight.dtype), weight / 255, bias - weight.sum(1) / 2)


class Synthesis(nn.Module):
    """Latents to image. Two learned vectors per quality adapt it to the coarseness of quantisation."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        dct, frequencies = dct_rows(config.patch_channels)
        self.coarse_rows = QualityRows(config.latent_channels)
        self.coarse = blocks(config.latent_channels, config.synthesis_blocks[0])
        self.up = _linear(hadamard_rows(frequencies, config.latent_channels).T)
        self.fine_rows = QualityRows(config.patch_channels)
        self.fine = blocks(config.patch_channels, config.synthesis_blocks[1])
        self.tail = _linear(dct.T)

    def forward(self, y: Tensor, quality: Tensor) -> Tensor:
        """Map y `[B, h, w, M]` at integer qualities `[B]` to float `[B, 16h, 16w, 3]`, about 0..1, not clipped."""
        return depth_to_space(self.tail(self._features(y, quality, NONE)), DCT_PATCH) + 0.5

    def levels(self, y: Tensor, quality: Tensor, surplus: Surplus = NONE) -> Tensor:
        """The same in 8-bit levels, rounded and clipped to uint8, for latents with a surplus around the wanted ones."""
        features = self._features(y, quality, surplus)
        if in_strips(y):
            return strips.to_pixels(features, self.tail)
        weight, bias = self.tail.weight * 255, self.tail.bias * 255 + (127.5 + 0.5)
        return depth_to_space(F.linear(features, weight, bias).clamp_(0, 255).to(torch.uint8), DCT_PATCH)

    def _features(self, y: Tensor, quality: Tensor, surplus: Surplus) -> Tensor:
        """Input of the last layer, for the wanted latents."""
        needed = -(-len(self.fine) // 2)
        x = self.coarse(y * (1 + self.coarse_rows(quality)), surplus, needed)
        factor = 1 + self.fine_rows(quality)
        x = strips.doubled(x, self.up, factor) if in_strips(x) else depth_to_space(self.up(x), 2) * factor
        out: Tensor = self.fine(x, surplus.after(needed).finer(2))
        return out
