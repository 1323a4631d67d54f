"""Example images of a report: the model's best and worst, each beside its original and a JPEG of equal size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluate.baseline_codecs import AVIF, BEST, JPEG
from pipeline.evaluate.bd_rate import rate_at
from pipeline.evaluate.curves import psnr_curve
from pipeline.evaluate.measurement import OURS, MeasuredImage, window
from pipeline.evaluate.points import Pixels, Point, compare

SIDE = 768
"""Longest side of an example in pixels: it fits a page, and a report of six images stays within some MB."""
_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Choice:
    """An image chosen as an example.

    Attributes:
        image: its measurements.
        why: "best", "worst" or "example".
        ratio: our bytes divided by AVIF's at the same PSNR; None if AVIF's curve does not reach that PSNR.
    """

    image: MeasuredImage
    why: str
    ratio: float | None


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """A rectangle of an image at full size: original, decoded, and as JPEG.

    Attributes:
        choice: the image, and why it was chosen.
        original: uint8 RGB `[h, w, 3]`, sides of at most `SIDE`.
        decoded: the same rectangle, decoded from the model's payload.
        jpeg: the same rectangle of the largest JPEG no larger than the payload, or of the smallest JPEG.
        whole: whether the rectangle is the whole image, rather than the surroundings of the largest error.
        point: size and fidelity of the payload.
        jpeg_point: size and fidelity of the JPEG.
    """

    choice: Choice
    original: Pixels
    decoded: Pixels
    jpeg: Pixels
    whole: bool
    point: Point
    jpeg_point: Point

    @property
    def jpeg_fits(self) -> bool:
        """Whether the JPEG is no larger than the payload."""
        return self.jpeg_point.bpp <= self.point.bpp


def choose(images: Sequence[MeasuredImage], quality: int, count: int) -> list[Choice]:
    """Choose the best and the worst images at a quality, at most `count` of each, none twice; best first.

    Args:
        images: measurements of all images.
        quality: a quality at which the model was measured.
        count: number of best images, and of worst images.
    """
    rated = [(ratio, image) for image in images if (ratio := _ratio(image, quality)) is not None]
    if not rated:
        return [Choice(image, "example", None) for image in images[:count]]
    rated.sort(key=lambda item: (item[0], item[1].key))
    best = rated[: min(count, -(-len(rated) // 2))]
    worst = rated[len(best) :][-count:]
    marked = [("best", item) for item in best] + [("worst", item) for item in worst]
    return [Choice(image, why, ratio) for why, (ratio, image) in marked]


def show(choice: Choice, pixels: Pixels, quality: int, encode: Callable[[Pixels, int], tuple[Point, Pixels]]) -> View:
    """Encode an image again, and crop original and results around the largest error.

    Args:
        choice: the image.
        pixels: its pixels.
        quality: quality of the model.
        encode: encodes pixels at a quality; returns size and fidelity, and the decoded pixels.
    """
    point, decoded = encode(pixels, quality)
    jpeg_point, jpeg = _jpeg_of_size(pixels, round(point.bpp * pixels.shape[0] * pixels.shape[1] / 8))
    row, column = worst_place(pixels, decoded)
    original, ours, theirs = (window(x, SIDE, SIDE, row, column) for x in (pixels, decoded, jpeg))
    return View(choice, original, ours, theirs, original.shape == pixels.shape, point, jpeg_point)


def worst_place(original: Pixels, decoded: Pixels) -> tuple[int, int]:
    """Row and column of the centre of the 64 x 64 block with the largest squared error."""
    error = ((original.astype(np.float32) - decoded) ** 2).sum(2)
    rows, columns = (-(-n // _BLOCK) for n in error.shape)
    padded = np.pad(error, ((0, rows * _BLOCK - error.shape[0]), (0, columns * _BLOCK - error.shape[1])))
    sums = padded.reshape(rows, _BLOCK, columns, _BLOCK).sum((1, 3))
    row, column = divmod(int(sums.argmax()), columns)
    return row * _BLOCK + _BLOCK // 2, column * _BLOCK + _BLOCK // 2


def _ratio(image: MeasuredImage, quality: int) -> float | None:
    (point,) = (p for p in image.points[OURS] if p.quality == quality)
    rate = rate_at(psnr_curve(image.points[AVIF.name]), point.psnr)
    return None if rate is None else point.bpp / rate


def _jpeg_of_size(pixels: Pixels, size: int) -> tuple[Point, Pixels]:
    """The largest JPEG of at most `size` bytes, or the smallest JPEG if all are larger."""
    low, high = 1, BEST + 1
    while high - low > 1:
        quality = (low + high) // 2
        low, high = (quality, high) if len(JPEG.encode(pixels, quality)) <= size else (low, quality)
    data = JPEG.encode(pixels, low)
    decoded = JPEG.decode(data)
    return compare(low, len(data), pixels, decoded), decoded
