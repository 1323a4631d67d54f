"""The squared error of a batch where its pixels are: on a GPU only one number per picture travels to the host."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.bitstream.container import Colour
from model.core.config import LATENT_STRIDE
from model.core.picture import Picture
from model.inference.device_copies import to_device
from model.inference.pixels import colour_of
from model.inference.tiling import Window


@dataclass(frozen=True, eq=False, slots=True)
class Extents:
    """Which values of a batch are those of its pictures; the others fill up latents, or repeat grey.

    Attributes:
        heights: int32 `[B]`.
        widths: int32 `[B]`.
        grey: bool `[B]`.
        has_grey: whether any is grey.
    """

    heights: Tensor
    widths: Tensor
    grey: Tensor
    has_grey: bool

    @classmethod
    def of(cls, pictures: Sequence[Picture], device: torch.device) -> "Extents":
        """Of pictures of one size in latents."""
        sides = np.array([(p.height, p.width) for p in pictures], np.int32).T
        grey = np.array([colour_of(p) == Colour.GREY for p in pictures])
        heights, widths = (to_device(x, device) for x in sides)
        return cls(heights, widths, to_device(grey, device), bool(grey.any()))


def squared_errors(original: Tensor, output: Tensor, extents: Extents, tile: Window) -> Tensor:
    """Sum of squared differences of each picture's planes in a tile, int64 `[B]`; see `model.metrics.psnr`.

    Args:
        original: uint8 `[B, 16 h, 16 w, 3]`; grey three times.
        output: of the networks, of the same shape.
        extents: of the pictures.
        tile: where the pixels are.
    """
    values = output.to(torch.int32)
    if extents.has_grey:  # `model.inference.pixels.planes_of`
        mean = (values.sum(3, keepdim=True, dtype=torch.int32) * 2 + 3) // 6
        values = torch.where(extents.grey[:, None, None, None], mean, values)
    squares = (values - original).square_().sum(3, dtype=torch.int32)
    rows, columns = (torch.arange(n, device=output.device) for n in output.shape[1:3])
    inside = (rows + tile.top * LATENT_STRIDE)[:, None] < extents.heights[:, None, None]
    inside = inside & ((columns + tile.left * LATENT_STRIDE) < extents.widths[:, None, None])
    total = squares.mul_(inside).sum((1, 2), dtype=torch.int64)
    return torch.where(extents.grey, total // 3, total) if extents.has_grey else total
