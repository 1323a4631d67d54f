"""Mean rate-distortion curves and BD-rates from the points of all images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from model.metrics.ms_ssim import decibels
from pipeline.evaluate.bd_rate import Curve, average, bd_rate, common_range
from pipeline.evaluate.points import Point

Image = TypeVar("Image")
Points = Mapping[str, Sequence[Sequence[Point]]]
"""Codec name to the curve of each image; all curves of a codec are at the same qualities."""


@dataclass(frozen=True, slots=True)
class Delta:
    """BD-rates of one codec against another in percent; negative where it needs less rate.

    Attributes:
        of_mean: BD-rate of the mean curves, by PSNR.
        by_image: mean of the images' BD-rates, by PSNR; None if their curves are unknown or share no range.
        ms_ssim: BD-rate of the mean curves, by MS-SSIM in decibels; None if it was not measured.
        from_db: lowest PSNR in dB that both mean curves cover.
        to_db: highest PSNR in dB that both mean curves cover.
    """

    of_mean: float
    by_image: float | None
    ms_ssim: float | None
    from_db: float
    to_db: float


def psnr_curve(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Points (rate, PSNR)."""
    return [(p.bpp, p.psnr) for p in points]


def similarity_curve(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Points (rate, MS-SSIM in decibels); empty if any point has no MS-SSIM."""
    if any(p.ms_ssim is None for p in points):
        return []
    return [(p.bpp, decibels(p.ms_ssim or 0.0)) for p in points]


def mean_curve(images: Sequence[Sequence[Point]]) -> list[Point]:
    """Pointwise mean over images, as published curves are averaged; MS-SSIM over the images that have it."""
    rates = average([psnr_curve(image) for image in images])
    means = []
    for i, (bpp, psnr) in enumerate(rates):
        known = [s for image in images if (s := image[i].ms_ssim) is not None]
        means.append(Point(images[0][i].quality, bpp, psnr, float(np.mean(known)) if known else None))
    return means


def deltas(ours: str, points: Points, others: Mapping[str, Sequence[Point]]) -> dict[str, Delta]:
    """BD-rates of one codec against every other.

    Args:
        ours: the codec's name in `points`.
        points: measured curves of all codecs.
        others: mean curves of codecs that were measured elsewhere.

    Returns:
        codec name to BD-rates; a codec that shares no range of PSNR with ours is left out.
    """
    own = mean_curve(points[ours])
    means = {name: mean_curve(images) for name, images in points.items() if name != ours} | dict(others)
    found = {}
    for name, mean in means.items():
        rate = delta(psnr_curve(mean), psnr_curve(own))
        if rate is None:
            continue
        low, high = common_range(psnr_curve(mean), psnr_curve(own))
        found[name] = Delta(rate, _by_image(points.get(name, ()), points[ours]), _similar(mean, own), low, high)
    return found


def delta(anchor: Curve, test: Curve) -> float | None:
    """`bd_rate`, or None if the curves share no range of fidelity."""
    try:
        return bd_rate(anchor, test)
    except ValueError:
        return None


def _by_image(theirs: Sequence[Sequence[Point]], ours: Sequence[Sequence[Point]]) -> float | None:
    if not theirs:
        return None
    rates = [delta(psnr_curve(a), psnr_curve(b)) for a, b in zip(theirs, ours, strict=True)]
    known = [rate for rate in rates if rate is not None]
    return float(np.mean(known)) if known else None


def _similar(theirs: Sequence[Point], ours: Sequence[Point]) -> float | None:
    anchor, test = similarity_curve(theirs), similarity_curve(ours)
    return delta(anchor, test) if anchor and test else None
