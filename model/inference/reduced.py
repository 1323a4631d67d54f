"""Reduced pictures from latents: one linear map per scale, from a position's latents and the lowest ones around it.

The latents of a position are close to a transform of its 16 x 16 pixels, so small block means follow
from them linearly; the synthesis is not run. At 1/16 the map reads the symbols of the first pass
alone, in units of y: every channel of a cell of 2 x 2 positions once. `pipeline.train.heads` fits
the maps.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.bitstream.container import Colour
from model.core.reduction import FROM_PREFIX, NEAR, OWN_PREFIX
from model.inference.partial_decode import Prefix
from model.inference.pixels import planes_of
from model.inference.tiling import Window
from model.layers.blocks import depth_to_space

REACH = 1
"""Latents around a window that its reduced pixels depend on."""


def inputs_of(latent: Tensor, window: Window, own: int) -> Tensor:
    """Inputs of a head, `[B, rows, columns, own + 9 NEAR + 1]`.

    Args:
        latent: `[B, h, w, M]`; beyond it, its edge is repeated.
        window: the positions that are wanted.
        own: number of channels of the position itself.
    """
    (h, w), (rows, columns) = latent.shape[1:3], window.size
    margins = (
        max(0, REACH - window.left),
        max(0, window.right + REACH - w),
        max(0, REACH - window.top),
        max(0, window.bottom + REACH - h),
    )
    low = F.pad(latent[..., :NEAR].permute(0, 3, 1, 2), margins, mode="replicate").permute(0, 2, 3, 1)
    top, left = window.top + margins[2] - REACH, window.left + margins[0] - REACH
    near = [low[:, top + i : top + i + rows, left + j : left + j + columns] for i in range(3) for j in range(3)]
    mine = latent[window.slices][..., :own]
    return torch.cat([mine, *near, mine.new_ones((*mine.shape[:3], 1))], -1)


def pixels(head: Tensor, latent: Tensor, window: Window) -> Tensor:
    """Reduced pixels of a window, uint8 RGB `[B, rows n, columns n, 3]`."""
    own = head.shape[1] - 1 - 9 * min(latent.shape[-1], NEAR)
    samples = F.linear(inputs_of(latent, window, own), head).add_(0.5).clamp_(0, 255).to(torch.uint8)
    side = round((head.shape[0] // 3) ** 0.5)
    return depth_to_space(samples, side)


def cells_of(prefix: Prefix, step: NDArray[np.float32]) -> Tensor:
    """Symbols of the first pass in units of y, float32 `[1, ceil(h/2), ceil(w/2), M]`."""
    return torch.from_numpy(prefix.symbols[..., :OWN_PREFIX] * step[:OWN_PREFIX])[None]


def prefix_pixels(head: Tensor, prefix: Prefix, step: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A picture at 1/16 from its first pass, uint8 `[ceil(H/16), ceil(W/16), 1 or 3]`.

    Args:
        head: of the model, for `FROM_PREFIX`.
        prefix: hyper-latents and symbols of the first pass.
        step: quantisation step of each channel.
    """
    cells = cells_of(prefix, step).to(head.device)
    rows, columns = -(-prefix.header.height // FROM_PREFIX), -(-prefix.header.width // FROM_PREFIX)
    whole = pixels(head, cells, Window(0, 0, *cells.shape[1:3]))[0, :rows, :columns]
    return planes_of(whole.cpu().numpy(), Colour(prefix.header.colour))
