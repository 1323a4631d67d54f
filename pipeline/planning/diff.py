"""Compares the source's listing with the archive's rows and assigns each key a state.

Both are sorted by key, so one pass over the two decides about every key, and memory does not grow
with their number:

    source:   a  b  c     e          a: unchanged      b: changed (its etag differs)
    archive:  a  b'    d  e'  ...    c: new            d: gone

The pass goes window by window. A window holds the rows of each stream that are known to cover the
same range of keys; Arrow compares them all at once, and Python loops only over keys that need work.

A key whose present content was rejected before (a row of the rejections table has the same etag) is
not tried again, unless that is asked for or the storage service was at fault.

A listing may be older than rows, as that of an inventory is: of what was encoded since, it says nothing.

A row whose original was deleted by a release is the only copy of its image: it is not gone when the source lacks the
key, and no other object that appears under the key takes its place. A key that an erasure bars is passed over.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from model.core.errors import MaepressError
from pipeline.archive.ledgers.erasures import BarredKeys
from pipeline.archive.schema import IMAGES, OUTAGE, REJECTIONS
from pipeline.archive.shards.merge_reader import SHARD, WINDOW_ROWS
from pipeline.archive.shards.sorted_tables import Column, is_rising, side_by_side
from pipeline.storage.base import Entry

pc: Any = pyarrow.compute  # its stubs reject most mixes of columns and plain values

Mask = NDArray[np.bool_]

_ENTRY: dict[str, pa.DataType] = {"key": pa.string(), "size": pa.int64(), "etag": pa.string()}
ENTRIES = pa.schema(_ENTRY)
"""A source's listing as a table."""


class KeyState(StrEnum):
    """How source and archive compare at one key."""

    NEW = "new"
    """In the source only."""
    CHANGED = "changed"
    """In both, with another etag."""
    STALE = "stale"
    """In both with the same etag, but compressed by another model or to another target than asked
    for now."""
    UNCHANGED = "unchanged"
    """In both, with nothing to do."""
    REJECTED = "rejected"
    """Rejected before with this very etag; the archive may hold an older version."""
    GONE = "gone"
    """In the archive only."""
    RELEASED = "released"
    """In the archive only, as its original was deleted by a release: the row stays."""
    REAPPEARED = "reappeared"
    """In both with another etag, although its original was deleted by a release: the row stays, the object waits."""
    BARRED = "barred"
    """In the source only, and erased from the archive: it may not come back."""


@dataclass(frozen=True, slots=True)
class DiffWindow:
    """The comparison over one range of keys.

    Attributes:
        source: the source's objects in the range, with the columns ENTRIES.
        rows: the archive's rows in the range: ROW_COLUMNS, further columns that were read, and
            SHARD.
        states: for each state except GONE and RELEASED a mask over `source`.
        gone: a mask over `rows`.
        released: a mask over `rows`; none of them is `gone`.
        match: for each object the index of its row, -1 where it has none.
        newer: rows that stay as they are, as they were encoded after the listing was made.
    """

    source: pa.Table
    rows: pa.Table
    states: dict[KeyState, Mask]
    gone: Mask
    released: Mask
    match: NDArray[np.int64]
    newer: int = 0

    def counts(self) -> dict[KeyState, int]:
        """The number of keys in each state."""
        of_rows = {KeyState.GONE: int(self.gone.sum()), KeyState.RELEASED: int(self.released.sum())}
        return {state: int(mask.sum()) for state, mask in self.states.items()} | of_rows

    def objects(self, state: KeyState) -> pa.Table:
        """The source's objects in a state.

        Columns: ENTRIES; for CHANGED and STALE also SHARD and, if it was read, `encoded_at`.
        """
        chosen = np.flatnonzero(self.states[state])
        objects = self.source.select(ENTRIES.names).take(chosen)
        if state in (KeyState.CHANGED, KeyState.STALE):
            names = [name for name in (SHARD, "encoded_at") if name in self.rows.column_names]
            for name in names:
                objects = objects.append_column(name, self.rows[name].take(self.match[chosen]))
        return objects

    def gone_rows(self) -> pa.Table:
        """The rows whose key the source no longer has."""
        return self.rows.take(np.flatnonzero(self.gone))


def compare_keys(
    source: Iterable[pa.Table],
    rows: Iterable[pa.Table],
    rejections: Iterable[pa.Table],
    *,
    is_stale: Callable[[pa.Table], Mask],
    retry_rejected: bool = False,
    retry_stages: Collection[str] = (),
    hidden: Callable[[str], bool] | None = None,
    released: Iterable[pa.Table] = (),
    barred: BarredKeys | None = None,
    listed_at: datetime | None = None,
) -> Iterator[DiffWindow]:
    """Compare every key of either side.

    Args:
        source: tables of ENTRIES, in byte order of the key, each key once.
        rows: tables of ROW_COLUMNS, the columns that `is_stale` needs, and SHARD, in the same
            order, each key once.
        rejections: tables of REJECTION_COLUMNS in the same order; a key may have several, one per
            etag.
        is_stale: gives a mask of the rows to compress again although their source did not change.
        retry_rejected: ignore earlier rejections.
        retry_stages: ignore those of these stages.
        hidden: whether a key may be in the source although the listing lacks it: its row is not
            gone. Asked for a window's keys once the listing has passed them.
        released: tables with the column `key`, in the same order: keys whose originals were deleted.
        barred: keys that may not come back.
        listed_at: when the source was listed, None for now; then the rows need the column `encoded_at`.

    Yields:
        Windows that follow each other in key order.

    Raises:
        MaepressError: when a stream is out of order or has a key twice: a merge would lose keys.
    """
    listing, archive = _checked(source, "the source's listing"), _checked(rows, "the archive")
    streams = (listing, archive, iter(rejections), iter(released))
    for here, there, rejected, let_go in side_by_side(*streams, nothing=_NO_ROWS):
        verdicts = None if retry_rejected else _verdicts(rejected, retry_stages)
        window = _window(here, there, verdicts, is_stale, hidden)
        window = _without_newer(window, listed_at) if listed_at is not None and there.num_rows else window
        window = _with_releases(window, let_go) if let_go.num_rows else window
        yield _without_barred(window, barred) if barred else window


def in_tables(entries: Iterable[Entry], rows: int = WINDOW_ROWS) -> Iterator[pa.Table]:
    """A listing as tables of ENTRIES, each with `rows` rows except the last."""
    stream = iter(entries)
    while chunk := list(islice(stream, rows)):
        columns = {"key": [e.key for e in chunk], "size": [e.size for e in chunk], "etag": [e.etag for e in chunk]}
        yield pa.table(columns, schema=ENTRIES)


def _window(
    source: pa.Table,
    rows: pa.Table,
    verdicts: pa.Table | None,
    is_stale: Callable[[pa.Table], Mask],
    hidden: Callable[[str], bool] | None,
) -> DiffWindow:
    found = pc.index_in(source["key"], value_set=rows["key"].combine_chunks())
    match = _numpy(pc.fill_null(found, -1)).astype(np.int64)
    known = match >= 0
    same, stale = np.zeros(len(match), bool), np.zeros(len(match), bool)
    if known.any():
        at = match[known]
        same[known] = _numpy(pc.equal(source["etag"].filter(pa.array(known)), rows["etag"].take(at)))
        stale[known] = is_stale(rows)[at]
    rejected_before = ~same & _is_rejected(source, verdicts)
    gone = np.ones(rows.num_rows, bool)
    gone[match[known]] = False
    if hidden is not None and gone.any():
        at = np.flatnonzero(gone)
        gone[at] = [not hidden(str(key)) for key in rows["key"].take(at).to_pylist()]
    states = {
        KeyState.NEW: ~known & ~rejected_before,
        KeyState.CHANGED: known & ~same & ~rejected_before,
        KeyState.STALE: same & stale,
        KeyState.UNCHANGED: same & ~stale,
        KeyState.REJECTED: rejected_before,
        KeyState.REAPPEARED: np.zeros(len(match), bool),
        KeyState.BARRED: np.zeros(len(match), bool),
    }
    return DiffWindow(source, rows, states, gone, np.zeros(rows.num_rows, bool), match)


def _without_newer(window: DiffWindow, listed_at: datetime) -> DiffWindow:
    """The window in which rows that were encoded after the listing was made are neither changed nor gone."""
    newer = _numpy(pc.greater_equal(window.rows["encoded_at"], pa.scalar(listed_at, pa.timestamp("us", "UTC"))))
    known = window.match >= 0
    held = np.zeros(len(window.match), bool)
    held[known] = newer[window.match[known]]
    changed = window.states[KeyState.CHANGED] & held
    states = window.states | {
        KeyState.CHANGED: window.states[KeyState.CHANGED] & ~held,
        KeyState.UNCHANGED: window.states[KeyState.UNCHANGED] | changed,
    }
    count = int(changed.sum()) + int((window.gone & newer).sum())
    return replace(window, states=states, gone=window.gone & ~newer, newer=count)


def _with_releases(window: DiffWindow, released: pa.Table) -> DiffWindow:
    """The window with the states of released rows: they stay, whatever the source has under their keys."""
    is_released = _numpy(pc.is_in(window.rows["key"], value_set=released["key"].combine_chunks()))
    known = window.match >= 0
    held = np.zeros(len(window.match), bool)
    held[known] = is_released[window.match[known]]
    changed, stale = window.states[KeyState.CHANGED], window.states[KeyState.STALE]
    states = window.states | {
        KeyState.CHANGED: changed & ~held,
        KeyState.REAPPEARED: changed & held,
        KeyState.STALE: stale & ~held,
        # It could be deleted while it is encoded again, and another object take its place.
        KeyState.UNCHANGED: window.states[KeyState.UNCHANGED] | (stale & held),
    }
    gone, kept = window.gone & ~is_released, window.gone & is_released
    return replace(window, states=states, gone=gone, released=kept)


def _without_barred(window: DiffWindow, barred: BarredKeys) -> DiffWindow:
    """The window in which barred keys are not new."""
    new = np.flatnonzero(window.states[KeyState.NEW] | window.states[KeyState.REJECTED])
    mask = np.zeros(len(window.match), bool)
    mask[new] = barred.mask(window.source["key"].take(new).to_pylist())
    others = {state: window.states[state] & ~mask for state in (KeyState.NEW, KeyState.REJECTED)}
    return replace(window, states=window.states | others | {KeyState.BARRED: mask})


def _verdicts(rejected: pa.Table, retry_stages: Collection[str]) -> pa.Table:
    """The rejections that still hold: an outage is none, and neither are those to try again."""
    tried_again = pa.array([OUTAGE, *retry_stages], pa.string())
    return rejected.filter(pc.invert(pc.is_in(rejected["stage"], value_set=tried_again)))


def _is_rejected(source: pa.Table, verdicts: pa.Table | None) -> Mask:
    if verdicts is None or verdicts.num_rows == 0 or source.num_rows == 0:
        return np.zeros(source.num_rows, bool)
    return _numpy(pc.is_in(_pairs(source), value_set=_pairs(verdicts).combine_chunks()))


def _pairs(table: pa.Table) -> Column:
    """Key and etag as one value; no etag contains a NUL."""
    pairs: Column = pc.binary_join_element_wise(table["key"], table["etag"], "\0")
    return pairs


_NO_ROWS = pa.schema(
    [
        *ENTRIES,
        IMAGES.field("source_bytes"),
        REJECTIONS.field("stage"),
        pa.field(SHARD, pa.int32()),
    ]
).empty_table()
"""Stands in for a stream that has no rows at all."""


def _checked(tables: Iterable[pa.Table], what: str) -> Iterator[pa.Table]:
    """The tables without empty ones, each checked: sorted by key, no key twice."""
    last: str | None = None
    for table in tables:
        if table.num_rows == 0:
            continue
        keys = table["key"]
        if (last is not None and str(keys[0].as_py()) <= last) or not is_rising(keys, strictly=True):
            raise MaepressError(f"{what} is not in key order{_first_fault(keys, last)}: no plan can be made from it")
        last = str(keys[-1].as_py())
        yield table


def _first_fault(keys: Column, last: str | None) -> str:
    """The first key that is not greater than the one before it, as text."""
    values: list[Any] = keys.to_pylist()
    for key in values:
        if last is not None and key <= last:
            return f" ({key!r} after {last!r})"
        last = key
    return ""


def _numpy(values: Any) -> NDArray[Any]:
    array: NDArray[Any] = values.to_numpy()
    return array
