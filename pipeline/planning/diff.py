"""What has to be done: the source's listing against the archive's rows.

Both come sorted by key, so one pass over the two side by side decides about every key, and memory does not grow with
their number:

    source:   a  b  c     e          a: unchanged      b: changed (its etag differs)
    archive:  a  b'    d  e'  ...    c: new            d: gone

The pass goes window by window: of each stream as many rows as are known to cover the same keys, compared at once by
Arrow. Python touches only what has to be done.

A key whose present content was refused before (a row of the rejections table with the same etag) is not tried again
unless asked for, or the store was to blame.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from model.core.errors import MaepressError
from pipeline.archive.merge_reader import SHARD, WINDOW_ROWS
from pipeline.archive.schema import IMAGES, OUTAGE, REJECTIONS
from pipeline.archive.sorted_tables import Column, is_rising, side_by_side
from pipeline.storage.base import Entry

pc: Any = pyarrow.compute  # its stubs refuse most mixes of columns and plain values

Mask = NDArray[np.bool_]

_ENTRY: dict[str, pa.DataType] = {"key": pa.string(), "size": pa.int64(), "etag": pa.string()}
ENTRIES = pa.schema(_ENTRY)
"""A source's listing as a table."""


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


@dataclass(frozen=True, slots=True)
class Window:
    """What was found out about a stretch of keys.

    Attributes:
        source: the source's objects in it: ENTRIES.
        rows: the archive's rows in it: ROW_COLUMNS, what else was read, and SHARD.
        states: a mask over `source` for each state but GONE.
        gone: a mask over `rows`.
        match: for each object the number of its row, -1 where it has none.
    """

    source: pa.Table
    rows: pa.Table
    states: dict[State, Mask]
    gone: Mask
    match: NDArray[np.int64]

    def counts(self) -> dict[State, int]:
        """How many keys are in which state."""
        return {state: int(mask.sum()) for state, mask in self.states.items()} | {State.GONE: int(self.gone.sum())}

    def objects(self, state: State) -> pa.Table:
        """The source's objects in a state: ENTRIES, and of those that have a row SHARD and (if read) `encoded_at`."""
        chosen = np.flatnonzero(self.states[state])
        objects = self.source.select(ENTRIES.names).take(chosen)
        if state in (State.CHANGED, State.STALE):
            names = [name for name in (SHARD, "encoded_at") if name in self.rows.column_names]
            for name in names:
                objects = objects.append_column(name, self.rows[name].take(self.match[chosen]))
        return objects

    def gone_rows(self) -> pa.Table:
        """The rows whose key the source no longer has."""
        return self.rows.take(np.flatnonzero(self.gone))


def decide(
    source: Iterable[pa.Table],
    rows: Iterable[pa.Table],
    rejections: Iterable[pa.Table],
    *,
    is_stale: Callable[[pa.Table], Mask],
    retry_rejected: bool = False,
) -> Iterator[Window]:
    """Every key of either side, in windows that follow each other in key order.

    Args:
        source: tables of ENTRIES, in byte order of the key, each key once.
        rows: tables of ROW_COLUMNS, what `is_stale` needs, and SHARD, likewise.
        rejections: tables of REJECTION_COLUMNS in the same order; a key may have several, one an etag.
        is_stale: says which rows should be pressed again although their source did not change.
        retry_rejected: treat refused keys as if nothing were known about them.

    Raises:
        MaepressError: when a stream is out of order or has a key twice: deciding by merging would lose keys.
    """
    streams = (_checked(source, "the source's listing"), _checked(rows, "the archive"), iter(rejections))
    for here, there, refused in side_by_side(*streams, nothing=_NOTHING):
        yield _window(here, there, None if retry_rejected else refused, is_stale)


def in_tables(entries: Iterable[Entry], rows: int = WINDOW_ROWS) -> Iterator[pa.Table]:
    """A listing as tables of ENTRIES with so many rows each."""
    stream = iter(entries)
    while chunk := list(islice(stream, rows)):
        columns = {"key": [e.key for e in chunk], "size": [e.size for e in chunk], "etag": [e.etag for e in chunk]}
        yield pa.table(columns, schema=ENTRIES)


def _window(source: pa.Table, rows: pa.Table, refused: pa.Table | None, is_stale: Callable[[pa.Table], Mask]) -> Window:
    found = pc.index_in(source["key"], value_set=rows["key"].combine_chunks())
    match = _numpy(pc.fill_null(found, -1)).astype(np.int64)
    known = match >= 0
    same, stale = np.zeros(len(match), bool), np.zeros(len(match), bool)
    if known.any():
        at = match[known]
        same[known] = _numpy(pc.equal(source["etag"].filter(pa.array(known)), rows["etag"].take(at)))
        stale[known] = is_stale(rows)[at]
    rejected = ~same & _is_refused(source, refused)
    gone = np.ones(rows.num_rows, bool)
    gone[match[known]] = False
    states = {
        State.NEW: ~known & ~rejected,
        State.CHANGED: known & ~same & ~rejected,
        State.STALE: same & stale,
        State.UNCHANGED: same & ~stale,
        State.REJECTED: rejected,
    }
    return Window(source, rows, states, gone, match)


def _is_refused(source: pa.Table, refused: pa.Table | None) -> Mask:
    if refused is None or refused.num_rows == 0 or source.num_rows == 0:
        return np.zeros(source.num_rows, bool)
    verdicts = refused.filter(pc.not_equal(refused["stage"], OUTAGE))
    return _numpy(pc.is_in(_pairs(source), value_set=_pairs(verdicts).combine_chunks()))


def _pairs(table: pa.Table) -> Column:
    """Key and etag as one value; no etag holds a NUL."""
    pairs: Column = pc.binary_join_element_wise(table["key"], table["etag"], "\0")
    return pairs


_NOTHING = pa.schema(
    [
        *ENTRIES,
        IMAGES.field("source_bytes"),
        REJECTIONS.field("stage"),
        pa.field(SHARD, pa.int32()),
    ]
).empty_table()
"""Stands for a stream that has no rows at all."""


def _checked(tables: Iterable[pa.Table], what: str) -> Iterator[pa.Table]:
    """The tables as they come, without empty ones, checked to be sorted by key without repeats."""
    last: str | None = None
    for table in tables:
        if table.num_rows == 0:
            continue
        keys = table["key"]
        if (last is not None and str(keys[0].as_py()) <= last) or not is_rising(keys, strictly=True):
            raise MaepressError(f"{what} is not in key order{_first_fault(keys, last)}: it cannot be planned from")
        last = str(keys[-1].as_py())
        yield table


def _first_fault(keys: Column, last: str | None) -> str:
    """The first key that is not above the one before it, in words."""
    values: list[Any] = keys.to_pylist()
    for key in values:
        if last is not None and key <= last:
            return f" ({key!r} after {last!r})"
        last = key
    return ""


def _numpy(values: Any) -> NDArray[Any]:
    array: NDArray[Any] = values.to_numpy()
    return array
