"""Distributes the rows of an epoch over ranks and workers: row groups are shuffled, then split into equal parts.

All wanted rows form one sequence, row group by row group, in an order that every rank derives from seed and epoch. A
rank reads a contiguous range of it, and its workers contiguous ranges of that. The parts are disjoint, cover everything
and have equal lengths to within one row, however few row groups there are; a row group at a boundary is read by both
neighbours. Shards stay together, so that each is opened by few workers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from pipeline.dataset.row_groups import RowGroup, Span

Row = dict[str, Any]


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


def rows_after(spans: Sequence[Span], skip: int) -> list[Span]:
    """The spans without their first rows."""
    rest = []
    for span in spans:
        left_out = min(skip, span.stop - span.start)
        skip -= left_out
        if span.start + left_out < span.stop:
            rest.append(replace(span, start=span.start + left_out))
    return rest


class ShuffledRows:
    """Rows shuffled through a buffer: each yielded row is drawn from it at random and replaced by the next.

    Attributes:
        held: the rows in the buffer.
        taken: number of rows that have entered it.
    """

    def __init__(
        self, rows: Iterable[Row], rng: np.random.Generator, most: int, held: Sequence[Row] = (), taken: int = 0
    ) -> None:
        """Nothing is read yet.

        Args:
            rows: rows with `payload_bytes`.
            rng: source of randomness.
            most: bytes of payloads in the buffer; it always holds at least one row.
            held: rows that are in it already.
            taken: number of rows that have entered it.
        """
        self.held, self.taken = list(held), taken
        self._rows, self._rng, self._most = iter(rows), rng, most
        self._size = sum(map(_size, self.held))

    def __iter__(self) -> Iterator[Row]:
        """The iterator is the object itself, so that it can go on where it was left."""
        return self

    def __next__(self) -> Row:
        """The next row."""
        while not (self._size > self._most and len(self.held) > 1):
            row = next(self._rows, None)
            if row is None:
                break
            self.held.append(row)
            self.taken += 1
            self._size += _size(row)
        if not self.held:
            raise StopIteration
        i = int(self._rng.integers(len(self.held)))
        self.held[i], self.held[-1] = self.held[-1], self.held[i]
        drawn = self.held.pop()
        self._size -= _size(drawn)
        return drawn


def _size(row: Row) -> int:
    return int(row["payload_bytes"] or 0)
