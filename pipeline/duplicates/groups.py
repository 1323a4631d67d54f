"""Groups of rows with the same label: their sums, and the rows of those with most bytes to save."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.duplicates import near
from pipeline.duplicates.facts import Facts

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sums:
    """All groups of one kind.

    Attributes:
        groups: groups of two images or more.
        images: images in them.
        source_bytes: bytes of the sources of all images but the one of each group that has most.
        payload_bytes: bytes of all payloads but the largest of each group; one that rows share counts once.
    """

    groups: int = 0
    images: int = 0
    source_bytes: int = 0
    payload_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """The sums, and the rows of the groups to list, those with most bytes to save first."""

    sums: Sums
    listed: list[Numbers]


def exact(facts: Facts, listed: int) -> Found:
    """Groups of rows whose sources have the same bytes."""
    rows = np.arange(len(facts.sources))
    order = np.argsort(facts.sources, kind="stable")
    values = facts.sources[order]
    return _found(rows[order], _starts(values), facts, listed)


def nearly(facts: Facts, distance: int, listed: int) -> Found:
    """Groups of rows whose pictures are nearly the same, and whose sources are not all the same bytes.

    Args:
        facts: of all rows.
        distance: as for `near.groups_of`.
        listed: largest number of groups to list.
    """
    rows = np.flatnonzero(facts.hashed)
    hashes, places = np.unique(facts.hashes[rows], return_inverse=True)
    labels = near.groups_of(hashes, distance)[places]
    del hashes, places
    order = np.lexsort((facts.sources[rows], labels))
    rows, labels = rows[order], labels[order]
    starts = _starts(labels)
    if len(rows):
        # Sorted by source within a group: it has two sources if its ends differ.
        ends = np.append(starts[1:], len(rows)) - 1
        several = facts.sources[rows[starts]] != facts.sources[rows[ends]]
        kept = np.repeat(several, ends - starts + 1)
        rows, labels = rows[kept], labels[kept]
        starts = _starts(labels)
    return _found(rows, starts, facts, listed)


def _starts(values: Numbers) -> Numbers:
    """Where runs of equal values begin."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1])) if len(values) else np.empty(0, np.int64)


def _found(rows: Numbers, starts: Numbers, facts: Facts, listed: int) -> Found:
    if not len(rows):
        return Found(Sums(), [])
    counts = np.diff(np.append(starts, len(rows)))
    saved = [_all_but_largest(sizes[rows], starts) for sizes in (facts.source_bytes, facts.payload_bytes)]
    groups = np.flatnonzero(counts > 1)
    sums = Sums(len(groups), int(counts[groups].sum()), *(int(sizes[groups].sum()) for sizes in saved))
    best = groups[np.argsort(-saved[1][groups], kind="stable")[:listed]]
    return Found(sums, [np.sort(rows[starts[group] : starts[group] + counts[group]]) for group in best])


def _all_but_largest(sizes: Numbers, starts: Numbers) -> Numbers:
    return np.add.reduceat(sizes, starts) - np.maximum.reduceat(sizes, starts)


def spread(hashes: Sequence[int | None]) -> int:
    """The largest number of bits in which a hash differs from the first."""
    first, *others = (hash_ or 0 for hash_ in hashes)
    return max((((first ^ other) % (1 << near.BITS)).bit_count() for other in others), default=0)
