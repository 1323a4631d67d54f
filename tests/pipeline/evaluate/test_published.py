"""The choice of published curves for comparison, and BD-rates against them."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluate.curves import deltas, mean_curve, mean_similarity_curve
from pipeline.evaluate.points import Point
from pipeline.evaluate.published import digest, kodak, published_for


def test_published_curves_stand_beside_kodaks_pixels_alone(shared_data: Path) -> None:
    files = sorted((shared_data / "kodak").glob("*.png"))
    digests = [digest(np.asarray(Image.open(f).convert("RGB"))) for f in files]
    found = published_for(reversed(digests))
    assert found is not None and "VTM" in found.curves
    assert published_for(digests[1:]) is None


@pytest.mark.parametrize("name", kodak().curves)
def test_published_curves_rise(name: str) -> None:
    points = kodak().curves[name]
    assert len(points) >= 4
    assert all(a.bpp < b.bpp and a.psnr < b.psnr for a, b in pairwise(points))


def test_rates_of_images_without_an_ms_ssim_stay_out_of_its_curve() -> None:
    def line(rate: float, ms_ssim: float | None) -> list[Point]:
        return [Point(i, rate * 2**i, 30.0 + 3 * i, ms_ssim and ms_ssim + i / 100) for i in range(4)]

    small = line(40.0, None)
    points = {"ours": [line(0.5, 0.9), small], "other": [line(1.0, 0.9), small]}
    assert deltas("ours", points, {})["other"].ms_ssim == pytest.approx(-50)
    assert [rate for rate, _ in mean_similarity_curve(points["ours"])] == [0.5, 1, 2, 4]
    assert mean_similarity_curve([small]) == []


def test_a_codec_without_a_common_range_has_no_bd_rate() -> None:
    def line(factor: float, base: float) -> list[Point]:
        return [Point(i, factor * 2**i, base + 3 * i, 0.9 + i / 100, 20.0 + 30 * i) for i in range(4)]

    points = {"ours": [line(0.5, 30.0), line(0.25, 30.0)], "other": [line(1.0, 30.0)] * 2, "far": [line(1.0, 60.0)] * 2}
    found = deltas("ours", points, {"published": [p for p in line(0.75, 30.0)]})
    assert set(found) == {"other", "published"}
    assert found["other"].of_mean == pytest.approx(-62.5)
    assert found["other"].by_image == pytest.approx(-62.5)
    assert found["published"].of_mean == pytest.approx(-50)
    assert found["published"].by_image is None
    assert found["other"].ssimulacra2 == pytest.approx(-62.5)
    assert mean_curve(points["ours"])[0] == Point(0, 0.375, 30.0, pytest.approx(0.9), 20.0)  # type: ignore[arg-type]
