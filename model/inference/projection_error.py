"""The projection error: what latents cannot represent, with M values for the 768 of a block of 16x16 pixels.

The trained transforms keep other and more important components than the orthonormal transform from
which they started (`model.layers.dct`). Still, what that one loses of a photograph predicts the
highest fidelity that the trained ones reach (`python -m bench.ceiling` prints both).
"""

import functools

import torch
from torch import Tensor

from model.core.config import BLOCK_VALUES, DCT_PATCH, LATENT_STRIDE, CodecConfig
from model.layers.blocks import space_to_depth
from model.layers.dct import dct_rows, hadamard_rows


@functools.cache
def kept_rows(config: CodecConfig) -> tuple[Tensor, Tensor]:
    """The orthonormal vectors on which the initial transform projects a block.

    Returns:
        float `[M, BLOCK_VALUES]`, over the pixels in scan order, RGB each; and bool `[M]`: which
        vectors are luma.
    """
    dct, frequencies = dct_rows(config.patch_channels)
    units = torch.eye(BLOCK_VALUES).reshape(BLOCK_VALUES, LATENT_STRIDE, LATENT_STRIDE, 3)
    patches = space_to_depth(units, DCT_PATCH) @ dct.T
    rows = space_to_depth(patches, 2) @ hadamard_rows(frequencies, config.latent_channels).T
    rows = rows.reshape(BLOCK_VALUES, config.latent_channels).T.contiguous()
    colours = rows.reshape(config.latent_channels, -1, 3)
    return rows, (colours - colours.mean(2, keepdim=True)).abs().amax((1, 2)) < 1e-6


def projection_error(blocks: Tensor, config: CodecConfig) -> Tensor:
    """Mean squared error of the projection by the initial transform.

    Args:
        blocks: uint8 `[n, 16, 16, 3]`.
        config: of the network.

    Returns:
        float `[n, 2]`, for values in 0..1: over all three colours, and of their mean.
    """
    values = blocks.reshape(len(blocks), BLOCK_VALUES).float() / 255 - 0.5
    rows, luma = (t.to(blocks.device) for t in kept_rows(config))
    kept = (values @ rows.T).square()
    mean = values.reshape(len(blocks), -1, 3).mean(2)
    left = torch.stack([values.square().sum(1) - kept.sum(1), 3 * mean.square().sum(1) - kept[:, luma].sum(1)], dim=1)
    return left.clamp_min(0) / BLOCK_VALUES
