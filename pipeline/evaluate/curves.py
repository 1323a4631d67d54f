"""From every image's points to what a reader compares: mean curves and BD-rates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from model.metrics.ms_ssim import decibels
from pipeline.evaluate.bd_rate import Curve, average, bd_rate, common_range
from pipeline.evaluate.points import Point

Image = TypeVar("Image")
Points = Mapping[str, Sequence[Sequence[Point]]]
"""For each codec, for each image, its curve; all of a codec's at the same qualities."""


@dataclass(frozen=True, slots=True)
class Delta:
    """Rate that a codec needs beyond another at equal fidelity, in percent: negative where it needs less.

    Attributes:
        of_mean: BD-rate of the mean curves by PSNR.
        by_image: mean of every image's BD-rate; None where images' curves are not known or share no range.
        ms_ssim: BD-rate of the mean curves by MS-SSIM in decibels; None where it was not measured.
        from_db: where the range of PSNR that both mean curves cover begins.
        to_db: where it ends.
    """

    of_mean: float
    by_image: float | None
    ms_ssim: float | None
    from_db: float
    to_db: float


def psnr_curve(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Rate and PSNR."""
    return [(p.bpp, p.psnr) for p in points]


def similarity_curve(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Rate and MS-SSIM in decibels; empty where a point has none."""
    if any(p.ms_ssim is None for p in points):
        return []
    return [(p.bpp, decibels(p.ms_ssim or 0.0)) for p in points]


def mean_curve(images: Sequence[Sequence[Point]]) -> list[Point]:
    """Point by point mean over images, as published curves are; MS-SSIM over those images that have it."""
    rates = average([psnr_curve(image) for image in images])
    means = []
    for i, (bpp, psnr) in enumerate(rates):
        known = [s for image in images if (s := image[i].ms_ssim) is not None]
        means.append(Point(images[0][i].quality, bpp, psnr, float(np.mean(known)) if known else None))
    return means


def deltas(ours: str, points: Points, others: Mapping[str, Sequence[Point]]) -> dict[str, Delta]:
    """BD-rates of one codec against each other.

    Args:
        ours: the codec's name in `points`.
        points: what was measured.
        others: mean curves of codecs that were measured elsewhere.

    Returns:
        by name; a codec that shares no range of fidelity with ours is left out.
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
    """`bd_rate`, or None where the curves share no range of fidelity."""
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
