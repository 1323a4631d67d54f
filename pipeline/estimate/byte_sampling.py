"""A sample of a source that speaks for its bytes: one pass over the listing, bounded memory, the whole key range.

Lay all objects end to end in key order. Cut that line into stretches of equal bytes and take the object under one
random point of each: large objects are drawn more often, in proportion to their bytes, and no part of the key range is
missed. The mean of (bytes pressed / bytes of source) over the points then estimates the ratio of the totals, and as
each quotient lies between 0 and 1, a few hundred points do, however uneven the sizes are.

How many bytes there are is known only at the end of the listing. So stretches start short and double: whenever there
are too many points, each two neighbours become one stretch that keeps one of their points, by the toss of a coin, which
is a random point of the double stretch again.

    bytes    |aaaaaaa|bb|ccccccccccccccccc|d|eee|ffffffff| ...
    points       ^          ^    ^              ^             one in each stretch
"""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from scipy.special import stdtrit

from pipeline.storage.base import Entry

FIRST_STRETCH = 4096.0
"""Bytes of the first stretches: shorter than most objects, so that doubling decides."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was drawn from a listing.

    Attributes:
        entries: one for each point, in key order; an object longer than a stretch is there several times.
        objects: in the listing.
        source_bytes: of these.
        census: every object of the listing is there, once: nothing is left to chance.
    """

    entries: tuple[Entry, ...]
    objects: int
    source_bytes: int
    census: bool


def draw(entries: Iterable[Entry], most: int, rng: random.Random) -> Sample:
    """Draw a sample of at most `most` points, and of more than a third of that unless the source is smaller.

    Args:
        entries: a listing in key order, streamed.
        most: points at most; a listing of no more objects is taken whole.
        rng: decides.
    """
    points: list[Entry] = []  # one a stretch
    everything: list[Entry] = []
    stretch, target = FIRST_STRETCH, rng.random() * FIRST_STRETCH
    objects = total = 0
    for entry in entries:
        objects, total = objects + 1, total + entry.size
        if objects <= most:
            everything.append(entry)
        while target < total:
            points.append(entry)
            if len(points) >= most and len(points) % 2 == 0:
                points = [points[i + rng.getrandbits(1)] for i in range(0, len(points), 2)]
                stretch *= 2
            target = (len(points) + rng.random()) * stretch
    if objects <= most:
        return Sample(tuple(everything), objects, total, True)
    return Sample(tuple(points), objects, total, False)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Interval":
        """The interval of a multiple."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)

    def complement(self, whole: float) -> "Interval":
        """The interval of `whole` minus this."""
        return Interval(whole - self.value, whole - self.high, whole - self.low)


def mean(values: Sequence[float], *, most: float = math.inf) -> Interval:
    """The mean over the points of a sample, with its 95 % interval.

    The variance comes from differences of neighbours, as each stretch has one point only: what differs from one part
    of the key range to another is no uncertainty, since every part is in the sample. (Collapsed strata, Cochran,
    Sampling Techniques, 5A.12.) It errs on the wide side.

    Args:
        values: of at least two points, in key order, none negative.
        most: upper bound of the true mean.
    """
    n = len(values)
    centre = math.fsum(values) / n
    squared = math.fsum((a - b) ** 2 for a, b in pairwise(values)) / (2 * (n - 1))
    half = float(stdtrit(n / 2, 0.975)) * math.sqrt(squared / n)
    return Interval(centre, max(0.0, centre - half), min(most, centre + half))


def weighted(values: Sequence[float], sizes: Sequence[int]) -> Interval:
    """The mean over a census, weighted by bytes: exact, so its interval is a point."""
    centre = math.fsum(v * s for v, s in zip(values, sizes, strict=True)) / sum(sizes)
    return Interval(centre, centre, centre)
