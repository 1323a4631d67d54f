"""Pairs of pictures to compare: an image and the same with noise."""

import numpy as np
from numpy.typing import NDArray

from tests.conftest import photo_like


def noisy_pair(height: int, width: int, channels: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    image = photo_like(height, width, channels)
    noise = np.random.default_rng(0).normal(0, 9, image.shape)
    return image, (image + noise).clip(0, 255).astype(np.uint8)
