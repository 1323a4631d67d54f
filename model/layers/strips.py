"""The transforms on a CPU without gradients, strip by strip.

Between the products of a block lie passes over memory. A strip is a few rows, at most `POSITIONS`:
everything between the block's input and its output stays in the cache of a core, and the output is
written once. Images of a batch lie below one another, so that small ones share a strip.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from model.core.config import DCT_PATCH
from model.layers import strips_numba
from model.layers.fused_branch import PreparedBranch

VALUES = 1 << 19
"""Largest number of values of a strip: 1 MB in bfloat16. A product of few rows is slow."""


class PreparedBlock:
    """A block (`model.layers.blocks.Block`) with copies of its weights.

    Copying or pickling one gives None, because the weights of a copied network may change.
    """

    def __init__(
        self, spatial: nn.Conv2d, expand: nn.Linear, project: nn.Linear, dtype: torch.dtype, *, final: bool = True
    ) -> None:
        """Copy the weights; the arguments are the layers of the block, and those of `PreparedBranch`."""
        assert spatial.bias is not None
        self._weight = spatial.weight.detach().reshape(-1, 9).T.contiguous()
        self._bias = spatial.bias.detach()
        self._branch = PreparedBranch(expand, project, dtype, final=final)

    def __call__(self, x: Tensor, out: Tensor, top: int = 0, left: int = 0) -> None:
        """Write the block's output for x, or for a window of it, to `out`.

        Args:
            x: float32 `[B, h, w, C]`, contiguous.
            out: float32 `[B, rows, columns, C]`, contiguous, other memory than x.
            top: row of x of the window's first.
            left: column of x of the window's first.
        """
        source, target = _rows(x).numpy(), _rows(out)
        place = x.shape[1], out.shape[1], top, left
        weights = self._weight.numpy(), self._bias.numpy()
        sums = torch.empty(_count(target), *target.shape[1:], dtype=self._branch.dtype)
        for begin, end in _strips(target):
            part = sums[: end - begin]
            strips_numba.depthwise(source, *weights, *place, begin, *_floats_or_bits(part))
            branch = self._branch(part.flatten(0, 1)).view(part.shape)
            strips_numba.add(source, *_floats_or_bits(branch), *place, begin, target[begin:end].numpy())

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


def from_pixels(image: Tensor, layer: nn.Linear) -> Tensor:
    """Apply a layer for values of -0.5..0.5 to patches of `[B, H, W, 3]`, uint8: `[B, H/8, W/8, N]`."""
    b, height, width, _ = image.shape
    # Scale and shift the weights instead of the image: it saves passes over memory.
    weight, bias = (layer.weight / 255).T.contiguous(), layer.bias - layer.weight.sum(1) / 2
    out = torch.empty(b, height // DCT_PATCH, width // DCT_PATCH, layer.out_features)
    target, flat = _rows(out), image.contiguous().view(b * height, -1)
    values = torch.empty(_count(target), target.shape[1], layer.in_features)
    for begin, end in _strips(target):
        part = values[: end - begin]
        strips_numba.patches(flat.numpy(), begin, part.numpy())
        torch.addmm(bias, part.flatten(0, 1), weight, out=target[begin:end].flatten(0, 1))
    return out


def to_pixels(x: Tensor, layer: nn.Linear) -> Tensor:
    """Apply a layer whose output is -0.5..0.5 to `[B, h, w, N]`, and round and clip to uint8: `[B, 8h, 8w, 3]`."""
    b, height, width, _ = x.shape
    weight, bias = layer.weight * 255, layer.bias * 255 + (127.5 + 0.5)
    image = torch.empty(b, height * DCT_PATCH, width * DCT_PATCH, 3, dtype=torch.uint8)
    source, flat = _rows(x), image.view(b * height * DCT_PATCH, -1)
    for begin, end in _strips(source):
        levels = F.linear(source[begin:end], weight, bias)
        strips_numba.pixels(levels.numpy(), begin, flat.numpy())
    return image


def halved(x: Tensor, layer: nn.Linear) -> Tensor:
    """Apply a layer to patches of 2x2: `[B, 2h, 2w, C]` to `[B, h, w, O]`."""
    b, height, width, channels = x.shape
    out = torch.empty(b, height // 2, width // 2, layer.out_features)
    target, source, weight = _rows(out), _rows(x), layer.weight.T
    values = torch.empty(_count(target), width // 2, 4 * channels)
    for begin, end in _strips(target):
        part = values[: end - begin]
        strips_numba.pairs(source.numpy(), begin, part.numpy())
        torch.addmm(layer.bias, part.flatten(0, 1), weight, out=target[begin:end].flatten(0, 1))
    return out


def doubled(x: Tensor, layer: nn.Linear, factor: Tensor) -> Tensor:
    """Apply a layer whose output are patches of 2x2, times a factor: `[B, h, w, C]` to `[B, 2h, 2w, O/4]`.

    Args:
        x: float32, contiguous.
        layer: with O outputs.
        factor: per image, `[B, 1, 1, O/4]`.
    """
    b, height, width, _ = x.shape
    out = torch.empty(b, 2 * height, 2 * width, layer.out_features // 4)
    source, target = _rows(x), _rows(out)
    of_images = factor.expand(b, 1, 1, -1)[:, 0, 0].contiguous()
    for begin, end in _strips(source):
        pairs = F.linear(source[begin:end], layer.weight, layer.bias)
        strips_numba.scaled_from_pairs(pairs.numpy(), begin, height, of_images.numpy(), target.numpy())
    return out


def _floats_or_bits(x: Tensor) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """A tensor as an array of its floats, or as one of its bits if it is in bfloat16; the other is empty."""
    if x.dtype == torch.bfloat16:
        return np.empty((0, 0, 0), np.float32), x.view(torch.uint16).numpy()
    return x.numpy(), np.empty((0, 0, 0), np.uint16)


def _rows(x: Tensor) -> Tensor:
    """`[B, h, w, C]` as `[B * h, w, C]`."""
    return x.detach().view(-1, *x.shape[2:])


def _count(x: Tensor) -> int:
    """Rows of a strip of `[rows, w, C]`."""
    return min(len(x), max(1, VALUES // (x.shape[1] * x.shape[2])))


def _strips(x: Tensor) -> Iterator[tuple[int, int]]:
    """First row and end of each strip of `[rows, w, C]`."""
    count = _count(x)
    return ((begin, min(begin + count, len(x))) for begin in range(0, len(x), count))
