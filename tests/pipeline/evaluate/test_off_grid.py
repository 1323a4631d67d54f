"""Sources in lossy formats are measured beside the grid of their codec, where its curve is as smooth as any."""

import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluate.baseline_codecs import AVIF, JPEG, WEBP, BaselineCodec
from pipeline.evaluate.measurement import OFF_GRID, measured_part
from pipeline.evaluate.points import Pixels
from tests.conftest import photo_like

SOURCES = {
    "JPEG of quality 90": (JPEG, {"format": "JPEG", "quality": 90, "subsampling": "4:2:0"}),
    "JPEG of quality 75 with its tables": (JPEG, {"format": "JPEG", "quality": 75, "subsampling": "4:2:0"}),
    "WebP of quality 82": (WEBP, {"format": "WEBP", "quality": 82}),
    "AVIF of quality 80": (AVIF, {"format": "AVIF", "quality": 80, "speed": 6}),
}


def decoded(options: dict[str, object]) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(photo_like(192, 192)).save(file, **options)  # type: ignore[arg-type]
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def leap(codec: BaselineCodec, pixels: Pixels) -> float:
    """The most by which PSNR falls where the quality rises by one, in dB."""
    psnrs = [codec.measure(pixels, quality).psnr for quality in range(70, 97)]
    return max(a - b for a, b in pairwise(psnrs))


@pytest.mark.parametrize("source", SOURCES)
def test_beside_the_grid_a_codec_does_not_repeat_its_own_rounding(source: str) -> None:
    codec, options = SOURCES[source]
    pixels = decoded(options)
    part = measured_part(pixels, 1 << 30, lossy=True)
    assert part.off_grid and part.pixels.shape == (192 - OFF_GRID, 192 - OFF_GRID, 3)
    assert leap(codec, np.ascontiguousarray(part.pixels)) < 0.1
    if codec is JPEG:
        assert leap(codec, pixels) > 2, "on the grid there is a spike"


@pytest.mark.parametrize("shape", [(700, 900), (2100, 700), (300, 3000), (128, 130)])
def test_a_middle_is_cut_beside_the_grid_too(shape: tuple[int, int]) -> None:
    rows, columns = np.indices(shape)
    whole = np.stack([rows % 64, columns % 64, rows // 64], axis=2).astype(np.uint8)
    part = measured_part(whole, 20_000, lossy=True)
    assert part.pixels.shape[0] * part.pixels.shape[1] <= 20_000 + 1 and part.share < 1
    assert part.cropped == (shape != (128, 130))
    assert tuple(part.pixels[0, 0, :2]) == (OFF_GRID, OFF_GRID)
    lossless = measured_part(whole, 1 << 30, lossy=False)
    assert not lossless.off_grid and lossless.share == 1 and lossless.pixels is whole


def test_a_picture_that_is_too_small_is_measured_as_it_is() -> None:
    part = measured_part(photo_like(2 * OFF_GRID, 64), 1 << 30, lossy=True)
    assert not part.off_grid and part.share == 1
