"""Building blocks on channels-last tensors `[B, H, W, C]`.

Pointwise layers are matrix products (`nn.Linear`), which CPUs run faster than 1x1 convolutions. The
block follows the depthwise-separable blocks of DCVC-RT (Jia et al., CVPR 2025) and the simple gate
of NAFNet (Chen et al., ECCV 2022): most multiply-adds in a few wide matrix products, little memory
traffic between them.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.layers.relu import relu
from model.layers.strips import PreparedBlock
from model.layers.surplus import NONE, Surplus


def space_to_depth(x: Tensor, r: int) -> Tensor:
    """`[B, H, W, C]` to `[B, H/r, W/r, r*r*C]`; channels are ordered (row, column, channel)."""
    b, h, w, c = x.shape
    return x.reshape(b, h // r, r, w // r, r, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h // r, w // r, r * r * c)


def depth_to_space(x: Tensor, r: int) -> Tensor:
    """Inverse of `space_to_depth`: `[B, H, W, r*r*C]` to `[B, H*r, W*r, C]`."""
    b, h, w, c = x.shape
    return x.reshape(b, h, w, r, r, c // (r * r)).permute(0, 1, 3, 2, 4, 5).reshape(b, h * r, w * r, c // (r * r))


class Block(nn.Module):
    """Residual block: depthwise 3x3, gated expansion, projection. It starts as the identity (its last layer is zero).

    The residual sum and the depthwise sums stay in float32; only the branch's matrix products are
    computed in `compute_dtype`, so that bfloat16 costs the trunk no precision. About 3 C^2
    multiply-adds per position.

    Attributes:
        compute_dtype: of the matrix products.
        precise: whether the block stays in float32 irrespective of `set_compute_dtype`.
        prepared: the block prepared for inference with final weights, or None.
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
        self.prepared: PreparedBlock | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, H, W, C]` to the same shape and dtype."""
        if not in_strips(x):
            t = self.compute_dtype
            sums: Tensor = self.spatial(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            gate, value = F.linear(sums.to(t), self.expand.weight.to(t), self.expand.bias.to(t)).chunk(2, -1)
            branch = F.linear(
                relu(gate, training=self.training) * value, self.project.weight.to(t), self.project.bias.to(t)
            )
            return x + branch.to(x.dtype)
        x = x.contiguous()
        out = torch.empty_like(x)
        self.infer(x, out)
        return out

    def infer(self, x: Tensor, out: Tensor, top: int = 0, left: int = 0) -> None:
        """Without gradients on a CPU; the arguments are those of `model.layers.strips.PreparedBlock`."""
        layers = self.spatial, self.expand, self.project
        (self.prepared or PreparedBlock(*layers, self.compute_dtype, final=False))(x, out, top, left)


class Blocks(nn.Sequential):
    """A sequence of blocks."""

    def forward(self, x: Tensor, surplus: Surplus = NONE, needed: int = 0) -> Tensor:
        """Map a window `[B, H, W, C]` to `surplus.after(needed)` around what is wanted, of the same dtype.

        Args:
            x: with `surplus` around what is wanted.
            surplus: at least `needed` and one more for each block, or all up to the picture's border.
            needed: positions around what is wanted that the layers after these blocks read.
        """
        if not in_strips(x):
            for block in self:
                x = block(x)
            rows, columns = surplus.without(surplus.after(needed), *x.shape[1:3])
            return x[:, rows, columns]
        # The memory of two outputs serves all blocks: the system maps new memory page by page.
        x = x.contiguous()
        memory: list[Tensor] = []
        for number, block in enumerate(self):
            assert isinstance(block, Block)
            rest = surplus.after(needed + len(self) - 1 - number)
            rows, columns = surplus.without(rest, *x.shape[1:3])
            shape = x.shape[0], rows.stop - rows.start, columns.stop - columns.start, x.shape[3]
            if number < 2:
                memory.append(torch.empty(math.prod(shape), dtype=x.dtype))
            out = memory[number % 2][: math.prod(shape)].view(shape)
            block.infer(x, out, rows.start, columns.start)
            x, surplus = out, rest
        return x


def in_strips(x: Tensor) -> bool:
    """Whether a transform of x takes the path of `model.layers.strips`: on a CPU, without gradients."""
    return x.device.type == "cpu" and not torch.is_grad_enabled()


def blocks(channels: int, count: int) -> Blocks:
    """A sequence of `count` blocks."""
    return Blocks(*(Block(channels) for _ in range(count)))


def set_compute_dtype(network: nn.Module, dtype: torch.dtype, *, final: bool = False) -> None:
    """Set the arithmetic of the blocks in a network: float32 or bfloat16.

    Args:
        network: any module with blocks inside.
        dtype: of the blocks' matrix products.
        final: the weights will not change again: on a CPU they are prepared for inference here, not
            at each call.
    """
    for module in network.modules():
        if isinstance(module, Block):
            module.compute_dtype = torch.float32 if module.precise else dtype
            on_cpu = module.project.weight.device.type == "cpu"
            layers = module.spatial, module.expand, module.project
            module.prepared = PreparedBlock(*layers, module.compute_dtype) if final and on_cpu else None
