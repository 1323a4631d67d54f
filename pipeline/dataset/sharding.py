"""Distributes the rows of an epoch over ranks and workers: row groups are shuffled, then split into equal parts.

All wanted rows form one sequence, row group by row group, in an order that every rank derives from seed and epoch. A
rank reads a contiguous range of it, and its workers contiguous ranges of that. The parts are disjoint, cover everything
and have equal lengths to within one row, however few row groups there are; a row group at a boundary is read by both
neighbours. Shards stay together, so that each is opened by few workers.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from pipeline.dataset.row_groups import RowGroup, Span


def shuffled_groups(groups: Sequence[RowGroup], rng: np.random.Generator) -> list[RowGroup]:
    """Shards in random order, and the row groups of each in random order."""
    shards = [list(some) for _, some in groupby(groups, key=lambda group: group.shard)]
    return [shards[i][j] for i in rng.permutation(len(shards)) for j in rng.permutation(len(shards[i]))]


def bounds(total: int, part: int, parts: int) -> tuple[int, int]:
    """Begin and end of part number `part` of `parts` in a sequence of length `total`."""
    return part * total // parts, (part + 1) * total // parts


def rows_between(groups: Iterable[RowGroup], begin: int, end: int) -> list[Span]:
    """The rows from `begin` to `end` of the sequence that row groups form."""
    spans, before = [], 0
    for group in groups:
        start, stop = max(begin - before, 0), min(end - before, group.rows)
        if start < stop:
            spans.append(Span(group, start, stop))
        before += group.rows
    return spans


def shuffled_rows(rows: Iterable[dict[str, Any]], rng: np.random.Generator, most: int) -> Iterator[dict[str, Any]]:
    """Shuffle rows through a buffer: each yielded row is drawn from it at random and replaced by the next.

    Args:
        rows: rows with their payloads.
        rng: source of randomness.
        most: bytes of payloads in the buffer; it always holds at least one row.
    """
    held: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row["payload"] or b"")
        while size > most and len(held) > 1:
            drawn = _pop_random(held, rng)
            size -= len(drawn["payload"] or b"")
            yield drawn
    while held:
        yield _pop_random(held, rng)


def _pop_random(held: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    i = int(rng.integers(len(held)))
    held[i], held[-1] = held[-1], held[i]
    return held.pop()
