"""A size-weighted sample of a listing: one pass, bounded memory, stratified over the whole key range.

Lay all objects end to end in key order, cut the sequence into intervals of equal bytes, and take the object under one
random point of each: an object is drawn with a probability proportional to its bytes, and no part of the key range is
missed. The mean of (bytes stored / bytes of the source) over the points then estimates the ratio of the totals. As each
ratio lies between 0 and 1, a few hundred points suffice, however uneven the sizes are.

The total is known only at the end of the listing, so intervals start short and double: whenever there are too many
points, each pair of neighbouring intervals becomes one, which keeps one of the two points at random. That is again a
uniform random point of the longer interval.

    bytes    |aaaaaaa|bb|ccccccccccccccccc|d|eee|ffffffff| ...
    points       ^          ^    ^              ^             one in each interval
"""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from scipy.special import stdtrit

from pipeline.storage.base import Entry

FIRST_INTERVAL = 4096.0
"""Bytes of the first intervals: shorter than most objects, so that doubling decides their final length."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A size-weighted sample of a listing.

    Attributes:
        entries: the object under each point, in key order; one longer than an interval occurs several times.
        objects: number of objects in the listing.
        source_bytes: their total size.
        census: whether `entries` holds every object of the listing once.
    """

    entries: tuple[Entry, ...]
    objects: int
    source_bytes: int
    census: bool


def size_weighted_sample(entries: Iterable[Entry], most: int, rng: random.Random) -> Sample:
    """Draw at most `most` points, and more than a third of that unless the source has few bytes.

    Args:
        entries: a listing in key order, streamed.
        most: largest number of points; a listing of no more objects is taken whole.
        rng: source of randomness.
    """
    points: list[Entry] = []  # one per interval
    everything: list[Entry] = []
    interval, target = FIRST_INTERVAL, rng.random() * FIRST_INTERVAL
    objects = total = 0
    for entry in entries:
        objects, total = objects + 1, total + entry.size
        if objects <= most:
            everything.append(entry)
        while target < total:
            points.append(entry)
            if len(points) >= most and len(points) % 2 == 0:
                points = [points[i + rng.getrandbits(1)] for i in range(0, len(points), 2)]
                interval *= 2
            target = (len(points) + rng.random()) * interval
    if objects <= most:
        return Sample(tuple(everything), objects, total, True)
    return Sample(tuple(points), objects, total, False)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Interval":
        """The estimate multiplied by a factor of 0 or more."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)

    def complement(self, whole: float) -> "Interval":
        """`whole` minus the estimate."""
        return Interval(whole - self.value, whole - self.high, whole - self.low)


def mean_interval(values: Sequence[float], *, most: float = math.inf) -> Interval:
    """The mean over the points of a sample, with its 95 % confidence interval.

    Each interval of bytes has a single point, so the variance is estimated from the differences between neighbours
    (collapsed strata; Cochran, Sampling Techniques, 5A.12): differences between distant parts of the key range add no
    uncertainty, since every part is sampled. The interval is on the wide side.

    Args:
        values: of at least two points, in key order, none negative.
        most: upper bound of the true mean.
    """
    n = len(values)
    centre = math.fsum(values) / n
    squared = math.fsum((a - b) ** 2 for a, b in pairwise(values)) / (2 * (n - 1))
    half = float(stdtrit(n / 2, 0.975)) * math.sqrt(squared / n)
    return Interval(centre, max(0.0, centre - half), min(most, centre + half))


def weighted_mean(values: Sequence[float], sizes: Sequence[int]) -> Interval:
    """The mean over a census, weighted by bytes; it is exact, so its interval is a point."""
    centre = math.fsum(v * s for v, s in zip(values, sizes, strict=True)) / sum(sizes)
    return Interval(centre, centre, centre)


def ratio_interval(values: Sequence[float], bases: Sequence[float], known: Interval, absent: float) -> Interval:
    """The total of a quantity known for some points of a sample, by its ratio to one that is known for all.

    The ratio is that of the sums: small objects have other ratios than large ones, and count less
    (ratio estimator; Cochran, Sampling Techniques, 6). Its variance is the jackknife's. With few
    points whose sizes differ, residuals estimate it too low, and half the degrees of freedom are
    what makes 95 of 100 intervals hold the truth (`python -m bench.estimates`).

    Args:
        values: the quantity at the points, of which there are at least two.
        bases: the known quantity at the same points, all above 0.
        known: total of the known quantity, with its own interval.
        absent: share of the points at which the quantity is not known, 0 to 1: without any, the ratio is exact.
    """
    n, top, bottom = len(values), math.fsum(values), math.fsum(bases)
    ratio = top / bottom
    without = [(top - v) / (bottom - b) for v, b in zip(values, bases, strict=True)]
    centre = math.fsum(without) / n
    variance = absent * (n - 1) / n * math.fsum((one - centre) ** 2 for one in without)
    own = float(stdtrit(n / 2, 0.975)) * math.sqrt(variance) * known.value
    half = math.hypot(own, ratio * max(known.value - known.low, known.high - known.value))
    return Interval(ratio * known.value, max(0.0, ratio * known.value - half), ratio * known.value + half)
