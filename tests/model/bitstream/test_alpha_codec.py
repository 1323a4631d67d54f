"""Alpha planes are lossless, simple ones take few bytes, and damaged ones are rejected."""

import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from model.bitstream import alpha_codec
from model.core.errors import DamagedPayload


def plane(kind: str, height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    made = {
        "noise": rng.integers(0, 256, (height, width)),
        "opaque": np.full((height, width), 255),
        "horizontal ramp": x * 3,
        "vertical ramp": y * 7,
        "disc": 255 * ((y - height / 2) ** 2 + (x - width / 2) ** 2 < (height / 3) ** 2),
    }[kind]
    samples: NDArray[np.uint8] = (made % 256).astype(np.uint8)
    return samples


@pytest.mark.parametrize("kind", ["noise", "opaque", "horizontal ramp", "vertical ramp", "disc"])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (37, 53)])
def test_any_plane_comes_back_exactly(kind: str, size: tuple[int, int]) -> None:
    original = plane(kind, *size, np.random.default_rng(0))
    restored = alpha_codec.read(alpha_codec.write(original), *size)
    assert np.array_equal(restored, original)
    assert restored.dtype == np.uint8


def test_the_filter_that_packs_best_is_chosen() -> None:
    rng = np.random.default_rng(0)
    chosen = [alpha_codec.write(plane(kind, 64, 64, rng))[0] for kind in ("noise", "horizontal ramp", "vertical ramp")]
    assert chosen == [0, 1, 2]
    assert len(alpha_codec.write(plane("horizontal ramp", 256, 256, rng))) < 400


def test_a_plane_of_another_size_is_refused() -> None:
    data = alpha_codec.write(np.zeros((10, 20), np.uint8))
    for size in ((10, 19), (11, 20), (1, 1)):
        with pytest.raises(DamagedPayload):
            alpha_codec.read(data, *size)


def test_garbage_is_refused() -> None:
    good = alpha_codec.write(np.zeros((8, 8), np.uint8))
    for data in (b"", b"\x00", b"\x01garbage", good[:-8], b"\x07" + good[1:], b"\x00" + zlib.compress(bytes(10**6))):
        with pytest.raises(DamagedPayload):
            alpha_codec.read(data, 8, 8)
