"""The three coding passes: which latents are coded first, and which later, conditioned on those. No torch.

In every cell of 2x2 positions the first pass codes one position, the second pass the diagonally
opposite one, and the third pass the other two, which then have four known neighbours. The
assignment is shifted from channel to channel, so that every position has known channels after every
pass. With a checkerboard (He et al. 2021) half of the latents are coded without known neighbours,
here only a quarter.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PASSES = 3
GROUPS = 4
"""Number of channel groups: channels c, c + 4, c + 8 ... are in one group and have the same passes."""


def pass_map(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Pass 0, 1 or 2 of each latent, uint8 `[h, w, M]`."""
    group = np.arange(channels) % GROUPS
    odd_row = (np.arange(height)[:, None] + group // 2) % 2  # [h, M]
    odd_column = (np.arange(width)[:, None] + group % 2) % 2  # [w, M]
    both, either = odd_row[:, None] & odd_column[None], odd_row[:, None] ^ odd_column[None]
    return (both + 2 * either).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Sublattice:
    """Latents that a pass codes together: in every 2x2 cell one position, and there the channels of one group.

    Attributes:
        a: row in the cell, 0 or 1.
        b: column in the cell, 0 or 1.
        group: of the channels, 0..3.
    """

    a: int
    b: int
    group: int

    @property
    def channels(self) -> slice:
        """The channels of the group."""
        return slice(self.group, None, GROUPS)

    @property
    def slices(self) -> tuple[slice, slice, slice, slice]:
        """Index of these latents in an array `[B, h, w, M]`."""
        return slice(None), slice(self.a, None, 2), slice(self.b, None, 2), self.channels


def sublattices(number: int) -> list[Sublattice]:
    """The sublattices that a pass codes; the same assignment as `pass_map`."""
    corner = pass_map(2, 2, GROUPS)
    return [Sublattice(a, b, g) for a in range(2) for b in range(2) for g in range(GROUPS) if corner[a, b, g] == number]


def pass_of(positions: NDArray[np.int64], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Pass of the latents at some positions of the flattened array `[h, w, M]`; the same assignment as `pass_map`."""
    position, channel = np.divmod(positions, shape[2])
    row, column = np.divmod(position, shape[1])
    passes: NDArray[np.uint8] = pass_map(2, 2, GROUPS)[row % 2, column % 2, channel % GROUPS]
    return passes
