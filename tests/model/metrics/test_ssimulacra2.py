"""SSIMULACRA2 on 8-bit pictures."""

import io
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from ssimulacra2 import compute_ssimulacra2

from model.metrics import ssimulacra2 as module
from model.metrics.ssimulacra2 import SMALLEST_SSIMULACRA2, ssimulacra2
from tests.conftest import photo_like, threads

Pixels = NDArray[np.uint8]
PHOTOGRAPHS = {"astronaut": data.astronaut, "coffee": data.coffee, "cat": data.chelsea}


def reference(a: Pixels, b: Pixels) -> float:
    files = io.BytesIO(), io.BytesIO()
    for file, pixels in zip(files, (a, b), strict=True):
        Image.fromarray(pixels.squeeze()).save(file, "PNG")
    return float(compute_ssimulacra2(*files))


def as_jpeg(pixels: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).reshape(pixels.shape)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("quality", [5, 25, 60, 90, 97])
def test_the_score_is_the_references_on_photographs_at_all_qualities(name: str, quality: int) -> None:
    photograph = PHOTOGRAPHS[name]()
    copy = as_jpeg(photograph, quality)
    assert ssimulacra2(photograph, copy) == pytest.approx(reference(photograph, copy), abs=0.002)


def test_the_score_is_the_references_close_to_equality() -> None:
    photograph = data.astronaut()
    copy = photograph.copy()
    copy[::7, ::5] ^= 1
    assert 98 < reference(photograph, copy) < 99.5
    assert ssimulacra2(photograph, copy) == pytest.approx(reference(photograph, copy), abs=0.002)


@pytest.mark.parametrize("size", [(225, 225, 3), (226, 303, 3), (257, 225, 1), (300, 241, 1)])
def test_the_score_is_the_references_for_odd_sides_and_grey(size: tuple[int, int, int]) -> None:
    picture = photo_like(*size)
    copy = as_jpeg(picture, 40)
    assert ssimulacra2(picture, copy) == pytest.approx(reference(picture, copy), abs=0.002)


def test_the_score_of_a_narrow_picture_is_the_references_where_no_scale_is_dropped() -> None:
    picture = photo_like(1100, 230)
    copy = as_jpeg(picture, 70)
    assert ssimulacra2(picture, copy) == pytest.approx(reference(picture, copy), abs=0.002)


def test_grey_scores_as_three_equal_planes() -> None:
    picture = photo_like(200, 180, 1)
    copy = as_jpeg(picture, 30)
    in_colour = (np.repeat(x, 3, axis=2) for x in (picture, copy))
    assert ssimulacra2(picture, copy) == pytest.approx(ssimulacra2(*in_colour), abs=0.001)


@pytest.mark.parametrize("size", [(1, 1, 3), (7, 5, 3), (8, 300, 1), (60, 64, 3), (112, 113, 3), (400, 3, 3)])
def test_small_pictures_score_as_their_mirrored_enlargement(size: tuple[int, int, int]) -> None:
    picture = photo_like(*size)
    noise = np.random.default_rng(0).normal(0, 9, size)
    copy = (picture + noise).clip(0, 255).astype(np.uint8)
    extra = [(0, max(0, SMALLEST_SSIMULACRA2 - n)) for n in size[:2]]
    whole = (np.pad(x, (*extra, (0, 0)), mode="symmetric") for x in (picture, copy))
    assert ssimulacra2(picture, copy) == ssimulacra2(*whole) < 95
    assert ssimulacra2(picture, picture) == 100


def test_the_score_falls_as_a_picture_gets_worse() -> None:
    for size in ((20, 30, 3), (150, 200, 3), (300, 400, 1)):
        picture = photo_like(*size)
        noise = np.random.default_rng(0).normal(0, 1, size)
        scores = [ssimulacra2(picture, (picture + s * noise).clip(0, 255).astype(np.uint8)) for s in (1, 2, 4, 8, 16)]
        assert scores == sorted(scores, reverse=True)


def test_neither_strips_nor_threads_change_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in ((333, 250, 3), (113, 129, 1), (700, 120, 3), (5, 700, 3)):
        picture = photo_like(*size)
        copy = (picture.astype(int) + np.random.default_rng(0).integers(-9, 10, size)).clip(0, 255).astype(np.uint8)
        found = set()
        for strip in (1, 1 << 14, 1 << 15, 1 << 24):
            monkeypatch.setattr(module, "_STRIP", strip)
            found.add(ssimulacra2(picture, copy))
        with threads(2), ThreadPoolExecutor(4) as pool:
            found.update(pool.map(lambda _, a=picture, b=copy: ssimulacra2(a, b), range(8)))
        assert len(found) == 1


def test_skipped_planes_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    photograph = data.astronaut()
    copies = [as_jpeg(photograph, quality) for quality in (5, 50, 95)]
    without = [ssimulacra2(photograph, copy) for copy in copies]
    monkeypatch.setattr(module, "_NEGLIGIBLE", 0.0)
    assert without == pytest.approx([ssimulacra2(photograph, copy) for copy in copies], abs=0.001)


def test_memory_does_not_grow_with_height() -> None:
    def peak(height: int) -> int:
        picture = np.zeros((height, 300, 3), np.uint8)
        tracemalloc.start()
        ssimulacra2(picture, picture)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(300)  # the first call compiles
    assert peak(6000) < 1.05 * peak(600) < 20 << 20


def test_arrays_need_not_be_contiguous() -> None:
    picture = photo_like(260, 250)
    copy = as_jpeg(picture, 50)
    turned = (x.transpose(1, 0, 2) for x in (picture, copy))
    assert ssimulacra2(*turned) == ssimulacra2(*(np.ascontiguousarray(x.transpose(1, 0, 2)) for x in (picture, copy)))
