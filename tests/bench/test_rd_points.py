"""BD-rates of the benchmark by all its metrics, and the points that it keeps between runs."""

from pathlib import Path

import numpy as np
import pytest

from bench import butteraugli
from bench.cache import Cache
from bench.rd_points import METRICS, RdPoint, bd_rates, mean
from pipeline.evaluate.baseline_codecs import JPEG
from pipeline.evaluate.points import Point
from tests.conftest import photo_like


def line(factor: float) -> list[RdPoint]:
    points = [Point(i, factor * 2**i, 30.0 + 3 * i, 0.9 + i / 100, 20.0 + 30 * i) for i in range(4)]
    return [RdPoint(point, 4 / 2**i) for i, point in enumerate(points)]


def test_half_the_rate_is_half_the_rate_by_every_metric() -> None:
    assert bd_rates(line(1.0), line(0.5)) == {name: pytest.approx(-50) for name in METRICS}


def test_a_metric_that_some_point_lacks_has_no_bd_rate() -> None:
    without = [RdPoint(m.point, None) for m in line(0.5)]
    assert bd_rates(line(1.0), without) == {
        "psnr": pytest.approx(-50),
        "ms_ssim": pytest.approx(-50),
        "ssimulacra2": pytest.approx(-50),
        "butteraugli": None,
    }


def test_means_are_pointwise() -> None:
    first = mean([line(1.0), line(3.0)])[0]
    assert (first.point.bpp, first.butteraugli) == (2.0, 4.0)


def test_points_are_kept_between_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cache, pixels = Cache(), photo_like(60, 70)
    made = cache.measure(JPEG, pixels, 50)
    cache.save()

    def never(*_: object) -> RdPoint:
        raise AssertionError("measured again")

    monkeypatch.setattr("bench.cache.measure_codec", never)
    assert Cache().measure(JPEG, pixels, 50) == made
    with pytest.raises(AssertionError, match="measured again"):
        Cache().measure(JPEG, pixels, 51)


@pytest.mark.skipif(butteraugli.PROGRAM is None, reason="butteraugli_main is not installed")
def test_butteraugli_is_zero_for_equal_pictures_and_grows_with_the_difference() -> None:
    pixels = photo_like(60, 70)
    far = [butteraugli.distance(pixels, (pixels.astype(int) + n).clip(0, 255).astype(np.uint8)) for n in (0, 8, 40)]
    assert far[0] == 0 and far[0] < (far[1] or 0) < (far[2] or 0)
