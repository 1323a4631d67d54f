"""The images that are shown: where the model does best and worst, original beside pressed beside JPEG of equal size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluate.baseline_codecs import AVIF, BEST, JPEG
from pipeline.evaluate.bd_rate import rate_at
from pipeline.evaluate.curves import psnr_curve
from pipeline.evaluate.measurement import OURS, Subject, window
from pipeline.evaluate.points import Pixels, Point, compare

SIDE = 768
"""Longest side of what is shown, at full size: what fits a page, and keeps a report of six images within some MB."""
_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Choice:
    """An image that is shown, and why.

    Attributes:
        subject: what was measured on it.
        why: "best", "worst" or "example".
        ratio: bytes of ours to AVIF's at the same PSNR; None where AVIF's curve does not reach that.
    """

    subject: Subject
    why: str
    ratio: float | None


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """A piece of an image at full size, as it was and as it came back.

    Attributes:
        choice: which image, and why.
        original: uint8 RGB `[h, w, 3]`, sides of at most `SIDE`.
        pressed: the same piece of what the model's payload decodes to.
        jpeg: the same piece of a JPEG that is as large as the payload, or the smallest there is.
        whole: it is all of the image, not the piece with the largest error.
        point: of the payload.
        jpeg_point: of the JPEG.
    """

    choice: Choice
    original: Pixels
    pressed: Pixels
    jpeg: Pixels
    whole: bool
    point: Point
    jpeg_point: Point


def choose(subjects: Sequence[Subject], quality: int, count: int) -> list[Choice]:
    """The best and the worst images at a quality, at most `count` of each, none twice; best first.

    Args:
        subjects: what was measured.
        quality: a quality of the model that was measured.
        count: of best and of worst images.
    """
    rated = [(ratio, subject) for subject in subjects if (ratio := _ratio(subject, quality)) is not None]
    if not rated:
        return [Choice(subject, "example", None) for subject in subjects[:count]]
    rated.sort(key=lambda item: (item[0], item[1].key))
    best = rated[: min(count, -(-len(rated) // 2))]
    worst = rated[len(best) :][-count:]
    marked = [("best", item) for item in best] + [("worst", item) for item in worst]
    return [Choice(subject, why, ratio) for why, (ratio, subject) in marked]


def show(choice: Choice, pixels: Pixels, quality: int, press: Callable[[Pixels, int], tuple[Point, Pixels]]) -> View:
    """Press an image again and cut out what is shown.

    Args:
        choice: the image.
        pixels: of it.
        quality: of the model.
        press: gives a point and the decoded pixels.
    """
    point, pressed = press(pixels, quality)
    jpeg_point, jpeg = _jpeg_of_size(pixels, round(point.bpp * pixels.shape[0] * pixels.shape[1] / 8))
    row, column = worst_place(pixels, pressed)
    original, ours, theirs = (window(x, SIDE, SIDE, row, column) for x in (pixels, pressed, jpeg))
    return View(choice, original, ours, theirs, original.shape == pixels.shape, point, jpeg_point)


def worst_place(original: Pixels, decoded: Pixels) -> tuple[int, int]:
    """Middle of the block of 64 x 64 pixels with the largest squared error."""
    error = ((original.astype(np.float32) - decoded) ** 2).sum(2)
    rows, columns = (-(-n // _BLOCK) for n in error.shape)
    padded = np.pad(error, ((0, rows * _BLOCK - error.shape[0]), (0, columns * _BLOCK - error.shape[1])))
    sums = padded.reshape(rows, _BLOCK, columns, _BLOCK).sum((1, 3))
    row, column = divmod(int(sums.argmax()), columns)
    return row * _BLOCK + _BLOCK // 2, column * _BLOCK + _BLOCK // 2


def _ratio(subject: Subject, quality: int) -> float | None:
    (point,) = (p for p in subject.points[OURS] if p.quality == quality)
    rate = rate_at(psnr_curve(subject.points[AVIF.name]), point.psnr)
    return None if rate is None else point.bpp / rate


def _jpeg_of_size(pixels: Pixels, size: int) -> tuple[Point, Pixels]:
    """The largest JPEG of at most so many bytes; the smallest one where none is."""
    low, high = 1, BEST + 1
    while high - low > 1:
        quality = (low + high) // 2
        low, high = (quality, high) if len(JPEG.encode(pixels, quality)) <= size else (low, quality)
    data = JPEG.encode(pixels, low)
    decoded = JPEG.decode(data)
    return compare(low, len(data), pixels, decoded), decoded
