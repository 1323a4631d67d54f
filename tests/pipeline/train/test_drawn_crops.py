"""Drawn crops: every kind gives varied pictures, the same for the same seed, and none fails."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from pipeline.train.drawn_crops import KINDS, DrawnPool


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_crops_of_every_kind_are_varied_pictures_and_repeat_by_seed(kind: Callable[..., Image.Image]) -> None:
    for side in (64, 256):
        one, again, other = (np.asarray(kind(np.random.default_rng(seed), side)) for seed in (1, 1, 2))
        assert one.shape == (side, side, 3) and one.dtype == np.uint8
        assert (one == again).all() and (one != other).any()


def test_no_drawn_crop_fails_in_many() -> None:
    pools = [DrawnPool(64, [seed]) for seed in range(100)]
    kinds = [pool.next() for pool in pools for _ in range(3)]
    assert {crop.shape for crop in kinds} == {(64, 64, 3)}
    assert sum(crop.std() > 1 for crop in kinds) > 250
