"""What has to be done: the source's listing against the archive's rows.

Both come sorted by key, so one pass over the two side by side decides about every key, and memory does not grow with
their number:

    source:   a  b  c     e          a: unchanged      b: changed (its etag differs)
    archive:  a  b'    d  e'  ...    c: new            d: gone

A key whose present content was refused before (a row of the rejections table with the same etag) is not tried again
unless asked for, or the store was to blame.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import TypeVar

from model.errors import MaepressError
from pipeline.archive import IndexRow, RejectionRow
from pipeline.schema import OUTAGE
from pipeline.store import Entry

Keyed = TypeVar("Keyed", Entry, IndexRow)


class State(StrEnum):
    """Where a key stands."""

    NEW = "new"
    """In the source only."""
    CHANGED = "changed"
    """In both, with another etag."""
    STALE = "stale"
    """In both with the same etag, but pressed by another model or at another quality than asked for now."""
    UNCHANGED = "unchanged"
    """In both, nothing to do."""
    REJECTED = "rejected"
    """Refused before with this very etag; the archive may hold an older version of it."""
    GONE = "gone"
    """In the archive only."""


TO_PRESS = frozenset({State.NEW, State.CHANGED, State.STALE})
"""The states that make work."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was found out about one key.

    Attributes:
        state: where the key stands.
        key: the key.
        entry: the source's object; None when it is gone.
        shard: path of the shard that holds the key's row (relative to `images/`); None when there is no row.
    """

    state: State
    key: str
    entry: Entry | None = None
    shard: str | None = None


def decide(
    entries: Iterable[Entry],
    rows: Iterable[IndexRow],
    rejections: Iterable[RejectionRow],
    *,
    is_stale: Callable[[IndexRow], bool],
    retry_rejected: bool = False,
) -> Iterator[Decision]:
    """One Decision a key, in key order.

    Args:
        entries: the source, in byte order of the key, each key once.
        rows: the archive, likewise.
        rejections: the rejections table in the same order; a key may have several, one an etag.
        is_stale: whether a row should be pressed again although its source did not change.
        retry_rejected: treat refused keys as if nothing were known about them.

    Raises:
        MaepressError: when a stream is out of order: deciding by merging would lose keys.
    """
    row_stream = _in_order(rows, "the archive")
    refused_stream = groupby(rejections, key=lambda r: r.key)
    row = next(row_stream, None)
    refused = next(refused_stream, None)
    for entry in _in_order(entries, "the source's listing"):
        while row is not None and row.key < entry.key:
            yield Decision(State.GONE, row.key, shard=row.shard)
            row = next(row_stream, None)
        while refused is not None and refused[0] < entry.key:
            refused = next(refused_stream, None)
        is_refused = (
            not retry_rejected
            and refused is not None
            and refused[0] == entry.key
            and any(r.etag == entry.etag and r.stage != OUTAGE for r in refused[1])
        )
        if row is None or row.key != entry.key:
            yield Decision(State.REJECTED if is_refused else State.NEW, entry.key, entry)
            continue
        if row.etag != entry.etag:
            state = State.REJECTED if is_refused else State.CHANGED
        else:
            state = State.STALE if is_stale(row) else State.UNCHANGED
        yield Decision(state, entry.key, entry, row.shard)
        row = next(row_stream, None)
    while row is not None:
        yield Decision(State.GONE, row.key, shard=row.shard)
        row = next(row_stream, None)


def _in_order(items: Iterable[Keyed], what: str) -> Iterator[Keyed]:
    """The items as they come, checked to be sorted by key without repeats."""
    last: str | None = None
    for item in items:
        # str compares by code point, which is the byte order of UTF-8.
        if last is not None and item.key <= last:
            raise MaepressError(f"{what} is not in key order ({item.key!r} after {last!r}): it cannot be planned from")
        last = item.key
        yield item
