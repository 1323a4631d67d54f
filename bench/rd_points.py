"""Points of rate-distortion curves with butteraugli, and BD-rates by all four metrics."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bench.butteraugli import distance
from pipeline.evaluate.baseline_codecs import BaselineCodec
from pipeline.evaluate.bd_rate import EVERYWHERE, Curve
from pipeline.evaluate.curves import (
    SSIMULACRA2_RANGE,
    delta,
    mean_curve,
    psnr_curve,
    similarity_curve,
    ssimulacra2_curve,
)
from pipeline.evaluate.points import Pixels, Point, compare

BUTTERAUGLI_RANGE = (2.5, 0.5)
"""3-norms that count, about where SSIMULACRA2 is 30 to 90; beyond 2.5 the collapse of JPEG decides its BD-rate."""
METRICS = ("psnr", "ms_ssim", "ssimulacra2", "butteraugli")


@dataclass(frozen=True, slots=True)
class RdPoint:
    """A point of a codec's curve for an image.

    Attributes:
        point: rate and fidelity.
        butteraugli: 3-norm; None if the program is not installed.
    """

    point: Point
    butteraugli: float | None

    @classmethod
    def of(cls, values: Mapping[str, float | None]) -> "RdPoint":
        """The point of which `to_dict` returned the values."""
        rest = dict(values)
        butteraugli = rest.pop("butteraugli")
        return cls(Point(**rest), butteraugli)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, float | None]:
        """All numbers by name."""
        return asdict(self.point) | {"butteraugli": self.butteraugli}


def measure(quality: float, size: int, original: Pixels, decoded: Pixels) -> RdPoint:
    """The point of a file of `size` bytes, encoded from `original` and decoded to `decoded`."""
    return RdPoint(compare(quality, size, original, decoded), distance(original, decoded))


def measure_codec(codec: BaselineCodec, pixels: Pixels, quality: int) -> RdPoint:
    """Encode and decode at a quality, and measure size and fidelity."""
    data = codec.encode(pixels, quality)
    return measure(quality, len(data), pixels, codec.decode(data))


def mean(images: Sequence[Sequence[RdPoint]]) -> list[RdPoint]:
    """Pointwise mean over images."""
    points = mean_curve([[p.point for p in image] for image in images])
    columns = zip(*images, strict=True)
    return [
        RdPoint(point, _mean([p.butteraugli for p in column])) for point, column in zip(points, columns, strict=True)
    ]


def bd_rates(theirs: Sequence[RdPoint], ours: Sequence[RdPoint]) -> dict[str, float | None]:
    """BD-rates in percent of a mean curve against another, by `METRICS`; None where there is no metric or no range.

    Butteraugli is compared in decibels, in which halving the distance always counts the same.
    """
    low, high = (_decibels(norm) for norm in BUTTERAUGLI_RANGE)
    ranges = {"ssimulacra2": SSIMULACRA2_RANGE, "butteraugli": (low, high)}
    found = {}
    for name in METRICS:
        anchor, test = curve(name, theirs), curve(name, ours)
        found[name] = delta(anchor, test, ranges.get(name, EVERYWHERE)) if anchor and test else None
    return found


def curve(metric: str, points: Sequence[RdPoint]) -> Curve:
    """Rate and fidelity by one of `METRICS`, rising; empty if any point lacks it."""
    if metric == "butteraugli":
        known = [(p.point.bpp, _decibels(p.butteraugli)) for p in points if p.butteraugli]
        return known if len(known) == len(points) else []
    of = {"psnr": psnr_curve, "ms_ssim": similarity_curve, "ssimulacra2": ssimulacra2_curve}[metric]
    return of([p.point for p in points])


def _decibels(norm: float) -> float:
    """A distance as a fidelity."""
    return -10 * math.log10(norm)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
