"""Who reads which rows in which order: an epoch's row groups shuffled, then dealt over ranks and workers.

All wanted rows stand in one line, row group by row group, in an order that every rank makes alike from seed and epoch.
A rank reads an equal stretch of the line and its workers equal stretches of that, so parts are disjoint, together
everything, and of equal length to within one row, however few row groups there are; a row group that a boundary cuts is
read by both its neighbours. Shards stay together, and each is opened by few.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from pipeline.dataset.row_groups import RowGroup, Span


def shuffled_groups(groups: Sequence[RowGroup], rng: np.random.Generator) -> list[RowGroup]:
    """Shards in random order, and in each its row groups in random order."""
    shards = [list(some) for _, some in groupby(groups, key=lambda group: group.shard)]
    return [shards[i][j] for i in rng.permutation(len(shards)) for j in rng.permutation(len(shards[i]))]


def bounds(total: int, part: int, parts: int) -> tuple[int, int]:
    """Where the stretch of one of `parts` begins and ends in a line of `total`."""
    return part * total // parts, (part + 1) * total // parts


def stretch(groups: Iterable[RowGroup], begin: int, end: int) -> list[Span]:
    """The rows from `begin` to `end` of the line that row groups make."""
    spans, before = [], 0
    for group in groups:
        start, stop = max(begin - before, 0), min(end - before, group.rows)
        if start < stop:
            spans.append(Span(group, start, stop))
        before += group.rows
    return spans


def shuffled_rows(rows: Iterable[dict[str, Any]], rng: np.random.Generator, most: int) -> Iterator[dict[str, Any]]:
    """Rows in random order as far as a buffer goes: each comes from a random place of it, and the next takes its place.

    Args:
        rows: with their payloads.
        rng: what draws.
        most: bytes of payloads to hold (and one row, however large).
    """
    held: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row["payload"])
        while size > most and len(held) > 1:
            drawn = _draw(held, rng)
            size -= len(drawn["payload"])
            yield drawn
    while held:
        yield _draw(held, rng)


def _draw(held: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    i = int(rng.integers(len(held)))
    held[i], held[-1] = held[-1], held[i]
    return held.pop()
