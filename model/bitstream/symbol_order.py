"""The order in which the symbols of a pass are coded: by scale index, then in scan order. No torch.

Sorting goes strip by strip, so that a strip fits the caches and the sorted copies of a large image
stay small.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.bitstream.coding_passes import pass_map
from model.bitstream.probability_tables import SCALES

STRIP = 1 << 18
"""Approximate number of latents per strip."""
Numbers = NDArray[np.int16] | NDArray[np.int32]
"""Symbols: int16, or int32 where int16 is too small."""


@dataclass(frozen=True, eq=False, slots=True)
class Strip:
    """The part of a pass in some rows.

    Attributes:
        begin: position of the strip's first latent in the scan of the image.
        positions: of the pass's latents, counted from `begin`, by scale index, then in scan order.
        bounds: where the group of each index begins in `positions`; last, the end.
    """

    begin: int
    positions: NDArray[np.uint32]
    bounds: list[int]

    def group(self, index: int) -> slice:
        """Range of `positions` with the latents of one scale index."""
        return slice(self.bounds[index], self.bounds[index + 1])


def strips(indices: NDArray[np.uint8], number: int) -> Iterator[Strip]:
    """Split a pass into strips of whole rows, first to last.

    Args:
        indices: scale index of each latent, `[h, w, M]`.
        number: of the pass.
    """
    height, width, channels = indices.shape
    rows = min(height + height % 2, max(2, STRIP // (width * channels) // 2 * 2))
    mine = np.flatnonzero(pass_map(rows, width, channels) == number)
    for top in range(0, height, rows):
        keys = indices[top : top + rows].reshape(-1)
        positions = mine[: np.searchsorted(mine, keys.size)] if keys.size < rows * width * channels else mine
        keys = keys.take(positions)
        order = np.argsort(keys, kind="stable")  # NumPy uses a radix sort for bytes
        bounds = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=SCALES))])
        yield Strip(top * width * channels, positions.take(order).astype(np.uint32), bounds.tolist())
