"""Pictures are checked when they are constructed."""

from typing import Any

import numpy as np
import pytest

from model.core.errors import UnsupportedImage
from model.core.picture import MAX_SIDE, Picture


def test_a_picture_knows_its_size() -> None:
    picture = Picture(np.zeros((3, 5, 1), np.uint8))
    assert (picture.width, picture.height) == (5, 3)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (1, MAX_SIDE + 1, 1)),
    ],
)
def test_other_kinds_of_pixels_are_refused(pixels: Any) -> None:
    with pytest.raises(UnsupportedImage):
        Picture(pixels)


@pytest.mark.parametrize("alpha", [np.zeros((4, 5), np.uint8), np.zeros((4, 4), np.float32)])
def test_an_alpha_plane_of_another_kind_is_refused(alpha: Any) -> None:
    with pytest.raises(UnsupportedImage, match="alpha"):
        Picture(np.zeros((4, 4, 3), np.uint8), alpha)
