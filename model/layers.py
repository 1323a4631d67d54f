"""Building blocks on channels-last tensors `[B, H, W, C]`.

Pointwise layers are matrix products (`nn.Linear`), which CPUs run faster than 1x1 convolutions. The block follows the
depthwise-separable blocks of DCVC-RT (Jia et al., CVPR 2025) and the simple gate of NAFNet (Chen et al., ECCV 2022):
multiply-adds in a few wide matrix products, little memory traffic in between.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def space_to_depth(x: Tensor, r: int) -> Tensor:
    """`[B, H, W, C]` to `[B, H/r, W/r, r*r*C]`; channels are ordered (row, column, channel)."""
    b, h, w, c = x.shape
    return x.reshape(b, h // r, r, w // r, r, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h // r, w // r, r * r * c)


def depth_to_space(x: Tensor, r: int) -> Tensor:
    """Inverse of `space_to_depth`: `[B, H, W, r*r*C]` to `[B, H*r, W*r, C]`."""
    b, h, w, c = x.shape
    return x.reshape(b, h, w, r, r, c // (r * r)).permute(0, 1, 3, 2, 4, 5).reshape(b, h * r, w * r, c // (r * r))


ROWS = 2048
"""Positions that a CPU takes through a block together: with 2 x 128 channels what a core's cache holds."""


class Block(nn.Module):
    """Residual block: depthwise 3x3, gated expansion, projection. It starts as the identity (its last layer is zero).

    The residual sum and the depthwise sums stay in float32; only the branch's matrix products are computed in
    `compute_dtype`, so that bfloat16 costs the trunk nothing. About 3 C^2 multiply-adds a position.

    Attributes:
        compute_dtype: of the matrix products.
        precise: whether it stays float32 whatever `set_compute_dtype` says.
    """

    def __init__(self, channels: int, *, precise: bool = False) -> None:
        super().__init__()
        self.precise = precise
        self.spatial = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.expand = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        self.compute_dtype = torch.float32

    def forward(self, x: Tensor) -> Tensor:
        """`[B, H, W, C]` to the same shape and dtype."""
        t = self.compute_dtype
        expand, project = (
            (self.expand.weight.to(t), self.expand.bias.to(t)),
            (self.project.weight.to(t), self.project.bias.to(t)),
        )
        sums: Tensor = self.spatial(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        if torch.is_grad_enabled() or x.device.type != "cpu":
            gate, value = F.linear(sums.to(t), *expand).chunk(2, -1)
            return x + F.linear(F.relu(gate) * value, *project).to(x.dtype)
        # All that follows looks at one position: a few rows at a time stay in the cache, and the sums' memory, which
        # nobody needs again, becomes the output's. Twice as fast at 16,000 positions of 128 channels.
        sums = sums.contiguous()
        rows, out = x.reshape(-1, x.shape[-1]), sums.view(-1, x.shape[-1])
        for begin in range(0, len(rows), ROWS):
            part = out[begin : begin + ROWS]
            gate, value = F.linear(part.to(t), *expand).chunk(2, -1)
            torch.add(rows[begin : begin + ROWS], F.linear(gate.relu_().mul_(value), *project), out=part)
        return sums


def blocks(channels: int, count: int) -> nn.Sequential:
    """`count` blocks in a row."""
    return nn.Sequential(*(Block(channels) for _ in range(count)))


def set_compute_dtype(network: nn.Module, dtype: torch.dtype) -> None:
    """Choose the arithmetic of the blocks: float32, or bfloat16 where the machine multiplies it faster."""
    for module in network.modules():
        if isinstance(module, Block) and not module.precise:
            module.compute_dtype = dtype
