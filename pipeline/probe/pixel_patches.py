"""Patches of pixels: the grid that a head learns from for comparison with latents."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.probe.fitting import Grids


def patches(image: NDArray[np.uint8], stride: int, side: int) -> NDArray[np.uint8]:
    """Shrink an image by `stride / side` and cut it into patches.

    Args:
        image: RGB, uint8 `[H, W, 3]`.
        stride: pixels between neighbouring patches, before shrinking.
        side: side of a patch, after shrinking.

    Returns:
        uint8 `[ceil(H/stride), ceil(W/stride), 3 side^2]`.
    """
    rows, columns = (-(-n // stride) for n in image.shape[:2])
    padded = np.pad(
        image, [(0, n * stride - m) for n, m in zip((rows, columns), image.shape, strict=False)] + [(0, 0)], "edge"
    )
    small = Image.fromarray(padded).resize((columns * side, rows * side), Image.Resampling.BOX, reducing_gap=None)
    cut = np.asarray(small).reshape(rows, side, columns, side, 3).transpose(0, 2, 1, 3, 4)
    return cut.reshape(rows, columns, 3 * side**2)


def mirrored(grid: Grids, side: int) -> Grids:
    """The patches of the mirrored image, if its width is a multiple of the stride."""
    flipped = grid[:, ::-1].reshape(*grid.shape[:2], side, side, 3)[:, :, :, ::-1]
    return flipped.reshape(grid.shape)
