"""Order of coding: which latents are coded first, and which later with knowledge of those. No torch.

On a lattice of 2x2 positions the first pass codes one position, the second the diagonally opposite one, the third the
two between them, which then have all four neighbours known. The lattice is shifted from channel to channel, so that
every position has known channels after every pass. Compared with a checkerboard (He et al. 2021) only a quarter, not
half, of the latents is coded without neighbours.
"""

import numpy as np
from numpy.typing import NDArray

PASSES = 3


def pass_map(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Pass 0, 1 or 2 of each latent, uint8 `[h, w, M]`."""
    group = np.arange(channels) % 4
    odd_row = (np.arange(height)[:, None] + group // 2) % 2  # [h, M]
    odd_column = (np.arange(width)[:, None] + group % 2) % 2  # [w, M]
    both, either = odd_row[:, None] & odd_column[None], odd_row[:, None] ^ odd_column[None]
    return (both + 2 * either).astype(np.uint8)


def lattice(number: int) -> list[tuple[int, int, int]]:
    """The same map as steps: a pass codes `[a::2, b::2, group::4]` for each of these (a, b, group)."""
    corner = pass_map(2, 2, 4)
    return [(a, b, g) for a in range(2) for b in range(2) for g in range(4) if corner[a, b, g] == number]


def pass_of(positions: NDArray[np.int64], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The same map at some positions in the scan of `[h, w, M]` latents."""
    place, channel = np.divmod(positions, shape[2])
    row, column = np.divmod(place, shape[1])
    passes: NDArray[np.uint8] = pass_map(2, 2, 4)[row % 2, column % 2, channel % 4]
    return passes
