"""Mean rate-distortion curves and BD-rates from the points of all images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from model.metrics.ms_ssim import decibels
from pipeline.evaluate.bd_rate import EVERYWHERE, Curve, average, bd_rate, common_range
from pipeline.evaluate.points import Point

Image = TypeVar("Image")
Points = Mapping[str, Sequence[Sequence[Point]]]
"""Codec name to the curve of each image; all curves of a codec are at the same qualities."""

SSIMULACRA2_RANGE = (30.0, 90.0)
"""Range of SSIMULACRA2, from low to visually lossless, that counts for its BD-rate."""


@dataclass(frozen=True, slots=True)
class Delta:
    """BD-rates of one codec against another in percent; negative where it needs less rate.

    Attributes:
        of_mean: BD-rate of the mean curves, by PSNR.
        by_image: mean of the images' BD-rates, by PSNR; None if their curves are unknown or share no range.
        ms_ssim: BD-rate of the mean curves of the images that have an MS-SSIM, by it in decibels; None if none has.
        ssimulacra2: BD-rate of the mean curves, by SSIMULACRA2 within `SSIMULACRA2_RANGE`; None if it was not measured.
        from_db: lowest PSNR in dB that both mean curves cover.
        to_db: highest PSNR in dB that both mean curves cover.
    """

    of_mean: float
    by_image: float | None
    ms_ssim: float | None
    ssimulacra2: float | None
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


def mean_similarity_curve(images: Sequence[Sequence[Point]]) -> list[tuple[float, float]]:
    """Mean points (rate, MS-SSIM in decibels) of those images that have an MS-SSIM; empty if none has.

    Small images have none, and take more bits per pixel than others: their rates stay out of it, too.
    """
    known = [image for image in images if similarity_curve(image)]
    return similarity_curve(mean_curve(known)) if known else []


def ssimulacra2_curve(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Points (rate, SSIMULACRA2); empty if any point has no SSIMULACRA2."""
    known = [(p.bpp, p.ssimulacra2) for p in points if p.ssimulacra2 is not None]
    return known if len(known) == len(points) else []


def mean_curve(images: Sequence[Sequence[Point]]) -> list[Point]:
    """Pointwise mean over images, as published curves are averaged; other metrics over the images that have them."""
    rates = average([psnr_curve(image) for image in images])
    means = []
    for i, (bpp, psnr) in enumerate(rates):
        points = [image[i] for image in images]
        similarity, score = _mean([p.ms_ssim for p in points]), _mean([p.ssimulacra2 for p in points])
        means.append(Point(points[0].quality, bpp, psnr, similarity, score))
    return means


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


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
    alike = mean_similarity_curve(points[ours])
    found = {}
    for name, mean in means.items():
        rate = delta(psnr_curve(mean), psnr_curve(own))
        if rate is None:
            continue
        low, high = common_range(psnr_curve(mean), psnr_curve(own))
        by_image = _by_image(points.get(name, ()), points[ours])
        theirs = mean_similarity_curve(points[name]) if name in points else similarity_curve(mean)
        similarity = _where_known(theirs, alike)
        score = _where_known(ssimulacra2_curve(mean), ssimulacra2_curve(own), SSIMULACRA2_RANGE)
        found[name] = Delta(rate, by_image, similarity, score, low, high)
    return found


def delta(anchor: Curve, test: Curve, within: tuple[float, float] = EVERYWHERE) -> float | None:
    """`bd_rate`, or None if the curves share no range of fidelity."""
    try:
        return bd_rate(anchor, test, within)
    except ValueError:
        return None


def _by_image(theirs: Sequence[Sequence[Point]], ours: Sequence[Sequence[Point]]) -> float | None:
    if not theirs:
        return None
    rates = [delta(psnr_curve(a), psnr_curve(b)) for a, b in zip(theirs, ours, strict=True)]
    known = [rate for rate in rates if rate is not None]
    return float(np.mean(known)) if known else None


def _where_known(anchor: Curve, test: Curve, within: tuple[float, float] = EVERYWHERE) -> float | None:
    return delta(anchor, test, within) if anchor and test else None
