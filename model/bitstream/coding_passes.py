"""Order of coding: which latents are coded first, and which later with knowledge of those. No torch.

On a lattice of 2x2 positions the first pass codes one position, the second the diagonally opposite one, the third the
two between them, which then have all four neighbours known. The lattice is shifted from channel to channel, so that
every position has known channels after every pass. Compared with a checkerboard (He et al. 2021) only a quarter, not
half, of the latents is coded without neighbours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PASSES = 3
GROUPS = 4
"""Channels c, c + 4, c + 8 ... are coded alike."""


def pass_map(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Pass 0, 1 or 2 of each latent, uint8 `[h, w, M]`."""
    group = np.arange(channels) % GROUPS
    odd_row = (np.arange(height)[:, None] + group // 2) % 2  # [h, M]
    odd_column = (np.arange(width)[:, None] + group % 2) % 2  # [w, M]
    both, either = odd_row[:, None] & odd_column[None], odd_row[:, None] ^ odd_column[None]
    return (both + 2 * either).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Sublattice:
    """What a pass codes together: one position of every 2x2 cell, there the channels of one group."""

    a: int
    b: int
    group: int

    @property
    def channels(self) -> slice:
        """Of M channels those of the group."""
        return slice(self.group, None, GROUPS)

    @property
    def slices(self) -> tuple[slice, slice, slice, slice]:
        """Where it is in an array `[B, h, w, M]`."""
        return slice(None), slice(self.a, None, 2), slice(self.b, None, 2), self.channels


def lattice(number: int) -> list[Sublattice]:
    """The same map as steps: the places that a pass codes."""
    corner = pass_map(2, 2, GROUPS)
    return [Sublattice(a, b, g) for a in range(2) for b in range(2) for g in range(GROUPS) if corner[a, b, g] == number]


def pass_of(positions: NDArray[np.int64], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The same map at some positions in the scan of `[h, w, M]` latents."""
    place, channel = np.divmod(positions, shape[2])
    row, column = np.divmod(place, shape[1])
    passes: NDArray[np.uint8] = pass_map(2, 2, GROUPS)[row % 2, column % 2, channel % GROUPS]
    return passes
