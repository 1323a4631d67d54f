"""The symbols of a pass in the order in which they are coded: by scale index, then in scan order. No torch.

Worked out strip by strip, so that what is sorted fits the caches and the sorted copies of a large image stay small.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.bitstream.coding_passes import pass_map
from model.bitstream.probability_tables import SCALES

STRIP = 1 << 18
"""About so many latents are looked at together."""
Numbers = NDArray[np.int16] | NDArray[np.int32]


@dataclass(frozen=True, eq=False, slots=True)
class Strip:
    """Part of a pass.

    Attributes:
        begin: position of the strip's first latent in the scan of all.
        places: positions of the pass's latents from there, by index, then in scan order.
        bounds: where each index's group begins in `places`; last, the end.
    """

    begin: int
    places: NDArray[np.uint32]
    bounds: list[int]

    def group(self, index: int) -> slice:
        """Where the latents of one scale index stand."""
        return slice(self.bounds[index], self.bounds[index + 1])


def strips(indices: NDArray[np.uint8], number: int) -> Iterator[Strip]:
    """A pass of latents with these scale indices, `[h, w, M]`, in parts of whole rows, first to last."""
    height, width, channels = indices.shape
    rows = min(height + height % 2, max(2, STRIP // (width * channels) // 2 * 2))
    mine = np.flatnonzero(pass_map(rows, width, channels) == number)
    for top in range(0, height, rows):
        keys = indices[top : top + rows].reshape(-1)
        places = mine[: np.searchsorted(mine, keys.size)] if keys.size < rows * width * channels else mine
        keys = keys.take(places)
        order = np.argsort(keys, kind="stable")  # a radix sort on bytes
        bounds = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=SCALES))])
        yield Strip(top * width * channels, places.take(order).astype(np.uint32), bounds.tolist())
