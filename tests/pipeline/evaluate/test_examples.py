"""The choice of example images, and of the part that is shown."""

import numpy as np

from pipeline.evaluate.baseline_codecs import AVIF, JPEG
from pipeline.evaluate.examples import SIDE, Choice, choose, show, worst_place
from pipeline.evaluate.measurement import OURS, MeasuredImage, middle, window
from pipeline.evaluate.points import Pixels, Point
from tests.conftest import photo_like

CURVE = [Point(q, rate, psnr, None) for q, rate, psnr in ((1, 0.25, 30.0), (2, 1.0, 36.0), (3, 4.0, 42.0))]


def image(key: str, bpp: float, psnr: float = 36.0) -> MeasuredImage:
    points = {OURS: [Point(40, bpp, psnr, None)], AVIF.name: CURVE}
    return MeasuredImage(key, "", 64, 64, False, False, 1000, points, {OURS: [None, 400, 2000]})


def test_the_best_and_the_worst_are_told_by_bytes_at_equal_fidelity() -> None:
    found = choose([image("same", 1.0), image("good", 0.5), image("bad", 2.0), image("fair", 0.9)], 40, 1)
    assert [(c.why, c.image.key, round(c.ratio or 0, 6)) for c in found] == [
        ("best", "good", 0.5),
        ("worst", "bad", 2),
    ]


def test_few_images_are_shown_once_each_and_what_cannot_be_compared_is_no_best() -> None:
    assert [c.why for c in choose([image("only", 1.0)], 40, 3)] == ["best"]
    assert [c.image.key for c in choose([image("a", 1.0), image("b", 0.5)], 40, 3)] == ["b", "a"]
    assert [c.why for c in choose([image("beyond", 1.0, 50.0)], 40, 3)] == ["example"]


def test_a_source_is_kept_where_no_smaller_file_reaches_the_floor() -> None:
    assert [image("a", 1.0).stored(OURS, number) for number in range(3)] == [1000, 400, 1000]


def test_a_large_image_is_shown_at_full_size_around_its_largest_error() -> None:
    pixels = np.zeros((900, 1000, 3), np.uint8)

    def compress(original: Pixels, quality: int) -> tuple[Point, Pixels]:
        decoded = original.copy()
        decoded[850:860, 950:960] = 90
        return Point(quality, 1.0, 30.0, None), decoded

    assert worst_place(pixels, compress(pixels, 40)[1]) == (864, 928)
    view = show(Choice(image("a", 1.0), "best", None), pixels, 40, compress)
    assert view.original.shape == view.decoded.shape == view.jpeg.shape == (SIDE, SIDE, 3)
    assert view.decoded.any() and not view.whole


def test_the_jpeg_beside_is_no_larger_than_the_payload_where_one_can_be() -> None:
    pixels = photo_like(96, 128)
    view = show(Choice(image("a", 1.0), "best", None), pixels, 40, lambda x, q: (Point(q, 2.0, 36.0, None), x.copy()))
    assert view.whole
    assert 0.5 < view.jpeg_point.bpp <= 2.0 and view.jpeg_fits
    tiny = show(Choice(image("a", 1.0), "best", None), pixels, 40, lambda x, q: (Point(q, 0.01, 36.0, None), x.copy()))
    assert tiny.jpeg_point.bpp > 0.01 and not tiny.jpeg_fits
    assert len(JPEG.encode(pixels, int(view.jpeg_point.quality) + 1)) * 8 > 2.0 * 96 * 128


def test_the_middle_keeps_its_shape_and_windows_stay_inside() -> None:
    pixels = np.arange(200 * 100 * 3).reshape(200, 100, 3).astype(np.uint8)
    assert middle(pixels, 5000).shape == (100, 50, 3)
    assert np.array_equal(middle(pixels, 5000), pixels[50:150, 25:75])
    assert middle(pixels, 20_000) is pixels
    assert np.array_equal(window(pixels, 64, 64, 0, 99), pixels[:64, 36:])
