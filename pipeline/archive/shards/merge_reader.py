"""The rows of many sorted shards as one sorted stream.

Each shard is sorted, but their key ranges overlap after keys have been added night after night. So
a window moves along the keys: a shard is read when the window reaches its first key, and rows below
the first key of the next shard are complete and are yielded.

    shard 1   a b c d e f          window 1: a b c d   (shard 3 begins at e)
    shard 2     b   d     g
    shard 3           e f g h      window 2: e f g h

A window is a table, so that Arrow processes many rows per call. Memory holds the small columns of
the shards that overlap at one key, never the whole table.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from pipeline.archive.shards.shard_reader import Row, read_columns
from pipeline.archive.shards.shard_writer import Shard
from pipeline.archive.shards.sorted_tables import in_order, position
from pipeline.storage.base import Store

SHARD = "shard"
"""The column that `merged_tables` adds: int32, index of the row's shard among the given shards."""

WINDOW_ROWS = 1 << 14
"""Rows read before a window is cut, where shards overlap little: enough to make the cost per call
negligible."""

_AHEAD = 8
"""Shards read in advance, since each read from an object store is mostly waiting."""


def merged_tables(
    store: Store,
    shards: Sequence[Shard],
    columns: Sequence[str],
    sort_columns: int = 1,
    unreadable: set[str] | None = None,
    window_rows: int = WINDOW_ROWS,
) -> Iterator[pa.Table]:
    """Every row, in tables that follow each other in rising order and are sorted inside.

    Args:
        store: the table's root.
        shards: files to merge.
        columns: to read; "key" first, no payloads.
        sort_columns: number of leading columns by which the rows are sorted. Rows of one key are in
            one table.
        unreadable: if given, receives the paths of shards that cannot be read; they are left out.
        window_rows: rows to read before a window is cut.

    Yields:
        Tables of `columns` and SHARD, none of them empty, each column in one chunk.

    Raises:
        StorageError: for a shard that cannot be read, unless `unreadable` is given.
    """
    names = list(columns[:sort_columns])

    def read(index: int) -> pa.Table:
        table = _read(store, shards[index].path, columns, names, index)
        if unreadable is not None:
            table.validate(full=True)  # text that is no UTF-8 would fail later, outside this shard
        return table

    waiting = deque(sorted(range(len(shards)), key=lambda i: shards[i].first_key))
    loading: deque[tuple[int, Future[pa.Table]]] = deque()
    held: list[pa.Table] = []
    with ThreadPoolExecutor(_AHEAD) as pool:
        while waiting or loading or held:
            fresh = 0
            while (waiting or loading) and fresh < window_rows:
                while waiting and len(loading) < _AHEAD:
                    index = waiting.popleft()
                    loading.append((index, pool.submit(read, index)))
                index, future = loading.popleft()
                try:
                    table = future.result()
                except Exception:  # whatever a damaged Parquet file makes its parser raise
                    if unreadable is None:
                        raise
                    unreadable.add(shards[index].path)
                    continue
                if table.num_rows:
                    held.append(table)
                fresh += table.num_rows
            following = loading[0][0] if loading else waiting[0] if waiting else None
            ready, held = _split(held, None if following is None else shards[following].first_key)
            if ready:
                yield in_order(pa.concat_tables(ready), names)


def merged(
    store: Store,
    shards: Sequence[Shard],
    columns: Sequence[str],
    sort_columns: int = 1,
    unreadable: set[str] | None = None,
) -> Iterator[tuple[Row, str]]:
    """The same rows one by one, as (values of `columns`, path of the row's shard)."""
    for table in merged_tables(store, shards, columns, sort_columns, unreadable):
        values = zip(*(table[name].to_pylist() for name in columns), strict=True)
        indices: list[Any] = table[SHARD].to_pylist()
        for row, index in zip(values, indices, strict=True):
            yield row, shards[index].path


def _read(store: Store, path: str, columns: Sequence[str], names: Sequence[str], index: int) -> pa.Table:
    # Our shards are sorted; one rewritten by another tool may not be.
    table = in_order(read_columns(store, path, columns), names)
    return table.append_column(SHARD, pa.repeat(pa.scalar(index, pa.int32()), table.num_rows))


def _split(held: list[pa.Table], bound: str | None) -> tuple[list[pa.Table], list[pa.Table]]:
    """Rows below a key, and the others; all rows are below when `bound` is None."""
    if bound is None:
        return held, []
    below: list[pa.Table] = []
    rest: list[pa.Table] = []
    for table in held:
        at = position(table["key"], bound)
        if at:
            below.append(table.slice(0, at))
        if at < table.num_rows:
            rest.append(table.slice(at))
    return below, rest
