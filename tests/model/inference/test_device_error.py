"""The squared error of a batch on a device is that of each picture on the host."""

import numpy as np
import pytest
import torch

from model.core.config import LATENT_STRIDE
from model.core.picture import Picture
from model.inference.device_error import Extents, squared_errors
from model.inference.pixels import colour_of, planes_of, to_network, window_of
from model.inference.tiling import Window
from model.metrics.psnr import squared_error

CPU = torch.device("cpu")


@pytest.mark.parametrize("tile", [Window(0, 0, 2, 3), Window(1, 0, 2, 3), Window(0, 2, 2, 3)], ids=str)
def test_every_picture_has_the_error_of_its_own_planes(tile: Window) -> None:
    rng = np.random.default_rng(0)
    shapes = [(32, 48, 3), (17, 48, 3), (32, 33, 1), (30, 41, 1)]
    pictures = [Picture(rng.integers(0, 256, shape, np.uint8)) for shape in shapes]
    original = to_network([window_of(p, tile) for p in pictures], CPU)
    output = torch.from_numpy(rng.integers(0, 256, tuple(original.shape), np.uint8))
    found = squared_errors(original, output, Extents.of(pictures, CPU), tile)
    area = tile.finer(LATENT_STRIDE)
    for picture, made, error in zip(pictures, output.numpy(), found.tolist(), strict=True):
        own = picture.pixels[area.slices[1:]]
        assert error == squared_error(own, planes_of(made[: own.shape[0], : own.shape[1]], colour_of(picture)))
