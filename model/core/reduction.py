"""Decoding at a fraction of the size: which fractions there are, sizes, and box reduction. No torch.

A reduced picture has `ceil(side / d)` rows and columns, d = 2, 4, 8 or 16. Each of its samples stands
for the mean of a block of d x d samples as stored (8-bit, not linear light), as Pillow's
`Image.reduce` computes it; blocks at the right and lower edge are smaller.
"""

import numpy as np
from numpy.typing import NDArray

from model.core.config import LATENT_STRIDE
from model.core.errors import MaepressError

DENOMINATORS = (2, 4, 8, 16)
FROM_PREFIX = 16
"""The denominator at which z and the first pass alone are decoded; the others need all latents."""
NEAR = 24
"""Number of lowest-frequency channels of the neighbouring positions that a head sees."""
OWN_PREFIX = 128
"""Number of lowest-frequency channels of its own cell that the head of the first pass sees."""


def denominator_of(scale: float) -> int:
    """The denominator of 1, 1/2, 1/4, 1/8 or 1/16.

    Raises:
        MaepressError: for another scale.
    """
    for denominator in (1, *DENOMINATORS):
        if scale * denominator == 1:
            return denominator
    raise MaepressError(f"images are decoded at a scale of 1, 1/2, 1/4, 1/8 or 1/16, not {scale!r}")


def reduced_size(height: int, width: int, denominator: int) -> tuple[int, int]:
    """Rows and columns of a reduced picture."""
    return -(-height // denominator), -(-width // denominator)


def box_reduced(planes: NDArray[np.uint8], denominator: int) -> NDArray[np.uint8]:
    """Rounded means of blocks of planes `[H, W]` or `[H, W, C]`."""
    if denominator == 1:
        return planes
    rows, columns = (np.arange(0, n, denominator) for n in planes.shape[:2])
    out = np.empty((rows.size, columns.size, *planes.shape[2:]), np.uint8)
    counts = np.diff(np.append(columns, planes.shape[1])).reshape(-1, *[1] * (planes.ndim - 2))
    for number, top in enumerate(rows):  # one row of blocks at a time: an image may be large
        strip = planes[top : top + denominator]
        sums = np.add.reduceat(strip.sum(0, dtype=np.int64), columns, axis=0)
        blocks = counts * strip.shape[0]
        out[number] = (2 * sums + blocks) // (2 * blocks)
    return out


def head_shape(denominator: int, channels: int) -> tuple[int, int]:
    """Shape `[outputs, inputs]` of the head for a denominator, in a model with that many latent channels.

    Inputs are the channels at a position, the lowest ones around it, and 1. Outputs are the samples
    of a position, `[rows, columns, RGB]`; of a cell of 2 x 2 positions where the first pass alone is
    decoded.
    """
    side = 2 if denominator == FROM_PREFIX else LATENT_STRIDE // denominator
    own = min(channels, OWN_PREFIX) if denominator == FROM_PREFIX else channels
    return 3 * side**2, own + 9 * min(channels, NEAR) + 1
