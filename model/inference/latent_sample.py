"""Some places of an image as latents: what rate control looks at before the first trial. No torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, slots=True)
class LatentSample:
    """Some places of an image.

    Attributes:
        latents: y, float32 `[n, M]`.
        leftover: what no latent holds of each, float32 `[n, 2]` (`model.inference.projection_error`).
    """

    latents: NDArray[np.float32]
    leftover: NDArray[np.float32]
