"""Baseline codecs: real files, and the smallest file that reaches a floor."""

import numpy as np
import pytest
from PIL import ImageFile

from model.metrics.psnr import psnr
from model.metrics.ssimulacra2 import ssimulacra2
from pipeline.evaluate.baseline_codecs import (
    BASELINE_CODECS,
    JPEG,
    JPEG_XL,
    BaselineCodec,
    Ladder,
    bytes_at,
    jxl_distance,
)
from pipeline.evaluate.points import BEST_PSNR, compare, to_rgb
from tests.conftest import photo_like

PIXELS = photo_like(64, 96)


@pytest.mark.parametrize("codec", BASELINE_CODECS, ids=lambda codec: codec.name)
def test_more_quality_is_more_bytes_and_more_fidelity(codec: BaselineCodec) -> None:
    low, high = (codec.measure(PIXELS, quality) for quality in (30, 90))
    assert low.bpp < high.bpp and low.psnr < high.psnr
    assert codec.decode(codec.encode(PIXELS, 90)).shape == PIXELS.shape


@pytest.mark.parametrize("codec", BASELINE_CODECS, ids=lambda codec: codec.name)
def test_the_smallest_file_at_a_floor_is_the_same_with_and_without_a_curve_before(
    codec: BaselineCodec,
) -> None:
    ladder = Ladder(codec, PIXELS)
    for quality in (20, 60, 90):
        ladder.point(quality)
    found = ladder.smallest(33.0)
    assert found is not None
    quality = next(q for q in range(1, 101) if len(codec.encode(PIXELS, q)) == found)
    assert psnr(PIXELS, codec.decode(codec.encode(PIXELS, quality))) >= 33.0
    assert bytes_at(codec, PIXELS, 33.0) == pytest.approx(found, rel=0.03)  # PSNR rises with quality but for noise
    assert ladder.smallest(99.0) is None


def test_a_floor_can_be_one_of_ssimulacra2() -> None:
    found = bytes_at(JPEG, PIXELS, 70.0, ssimulacra2)
    assert found is not None
    ladder = Ladder(JPEG, PIXELS, ssimulacra2)
    points = [ladder.point(quality) for quality in range(5, 100, 5)]  # their PSNR must not count as SSIMULACRA2
    assert ladder.smallest(70.0) == found
    sizes = [p.bpp * PIXELS.shape[0] * PIXELS.shape[1] / 8 for p in points if (p.ssimulacra2 or 0) >= 70]
    assert found <= min(sizes)
    file = next(f for q in range(1, 101) if len(f := JPEG.encode(PIXELS, q)) == found)
    assert ssimulacra2(PIXELS, JPEG.decode(file)) >= 70


def test_where_halved_colour_cannot_reach_a_floor_whole_colour_is_tried() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2, 0], stripes[:, 1::2, 2] = 200, 200
    halved = max(psnr(stripes, JPEG.decode(JPEG.encode(stripes, q))) for q in (90, 100))
    assert halved < 25
    assert Ladder(JPEG, stripes).smallest(36.0) is not None


def test_noise_has_a_jpeg_at_every_quality(capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    room = ImageFile.MAXBLOCK
    for quality in (67, 94, 100):
        assert JPEG.encode_full is not None and JPEG.encode_full(noise, quality)
    assert room == ImageFile.MAXBLOCK and capfd.readouterr().err == ""


def test_distances_are_those_of_libjxls_qualities() -> None:
    assert jxl_distance(90) == pytest.approx(1.0)
    assert jxl_distance(100) == pytest.approx(0.1)
    assert jxl_distance(30) == pytest.approx(6.4)
    assert all(jxl_distance(q) > jxl_distance(q + 1) for q in range(100))
    assert JPEG_XL.measure(PIXELS, 99).psnr < BEST_PSNR


def test_equal_pictures_have_a_finite_place_on_a_curve() -> None:
    assert compare(1, 10, PIXELS, PIXELS).psnr == BEST_PSNR
    grey = PIXELS[:, :, :1]
    assert np.array_equal(to_rgb(grey)[:, :, 2:], grey)
