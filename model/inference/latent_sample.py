"""Latents at some positions of an image, from which rate control predicts the quality to try first. No torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, slots=True)
class LatentSample:
    """Latents at n positions of an image.

    Attributes:
        latents: y, float32 `[n, M]`.
        projection_error: of the block at each position, float32 `[n, 2]`
            (`model.inference.projection_error`).
    """

    latents: NDArray[np.float32]
    projection_error: NDArray[np.float32]
