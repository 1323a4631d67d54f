"""What latents leave over: they have M numbers for the 768 of a place of 16x16 pixels.

The trained transforms keep other things than the orthonormal one that they started from
(`model.layers.dct`), and more of what matters; but how much that one loses of a photograph says
where about the trained ones' ceiling lies (`python -m bench.ceiling` shows both).
"""

import functools

import torch
from torch import Tensor

from model.core.config import BLOCK_VALUES, DCT_PATCH, LATENT_STRIDE, CodecConfig
from model.layers.blocks import space_to_depth
from model.layers.dct import dct_rows, hadamard_rows


@functools.cache
def kept_rows(config: CodecConfig) -> tuple[Tensor, Tensor]:
    """The orthonormal vectors that the starting transform projects a place on.

    Returns:
        float `[M, BLOCK_VALUES]` over pixels in rows of RGB; and bool `[M]`: which of them are luma.
    """
    dct, frequencies = dct_rows(config.patch_channels)
    units = torch.eye(BLOCK_VALUES).reshape(BLOCK_VALUES, LATENT_STRIDE, LATENT_STRIDE, 3)
    patches = space_to_depth(units, DCT_PATCH) @ dct.T
    rows = space_to_depth(patches, 2) @ hadamard_rows(frequencies, config.latent_channels).T
    rows = rows.reshape(BLOCK_VALUES, config.latent_channels).T.contiguous()
    colours = rows.reshape(config.latent_channels, -1, 3)
    return rows, (colours - colours.mean(2, keepdim=True)).abs().amax((1, 2)) < 1e-6


def leftover(places: Tensor, config: CodecConfig) -> Tensor:
    """Mean squared error of what the starting transform keeps.

    Args:
        places: uint8 `[n, 16, 16, 3]`.
        config: of the network.

    Returns:
        float `[n, 2]`, of values 0..1: of all three colours, and of their mean.
    """
    values = places.reshape(len(places), BLOCK_VALUES).float() / 255 - 0.5
    rows, luma = (t.to(places.device) for t in kept_rows(config))
    kept = (values @ rows.T).square()
    mean = values.reshape(len(places), -1, 3).mean(2)
    left = torch.stack([values.square().sum(1) - kept.sum(1), 3 * mean.square().sum(1) - kept[:, luma].sum(1)], dim=1)
    return left.clamp_min(0) / BLOCK_VALUES
