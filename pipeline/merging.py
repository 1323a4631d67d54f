"""Rows of many sorted Parquet files as one sorted stream.

Shards are sorted inside, but their key ranges overlap once keys have been added night after night. So: a k-way merge, in which a shard is opened
only when the merge has come to its first key. Memory holds the small columns of the shards that overlap at one point, never the whole table.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow.parquet as pq

from pipeline.shards import Shard
from pipeline.store import Store

_AHEAD = 8
"""Shards that are read before the merge needs them: reading an object store is waiting."""

Row = tuple[Any, ...]

_Head = tuple[Row, int, Row, Iterator[Row], str]
"""What the merge sorts by, a number that breaks ties, the row, the rows after it, and their shard."""


def merged(
    store: Store, shards: Sequence[Shard], columns: Sequence[str], sort_columns: int = 1
) -> Iterator[tuple[Row, str]]:
    """Every row as (values of `columns`, path of its shard), in rising order.

    Args:
        store: the table's root.
        shards: files to merge.
        columns: to read; "key" first, no payloads.
        sort_columns: how many of the leading columns the files are sorted by.
    """
    waiting = deque(sorted(shards, key=lambda shard: shard.first_key))
    loading: deque[tuple[Shard, Future[list[Row]]]] = deque()
    heap: list[_Head] = []
    number = 0
    with ThreadPoolExecutor(_AHEAD) as pool:
        while waiting or loading or heap:
            while waiting and len(loading) < _AHEAD:
                shard = waiting.popleft()
                loading.append((shard, pool.submit(read_rows, store, shard.path, columns)))
            if loading and (not heap or loading[0][0].first_key <= heap[0][0][0]):
                shard, future = loading.popleft()
                rows = iter(future.result())
                first = next(rows)  # no shard is empty
                heapq.heappush(heap, (first[:sort_columns], number, first, rows, shard.path))
                number += 1
                continue
            _, index, row, rows, path = heap[0]
            yield row, path
            following = next(rows, None)
            if following is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (following[:sort_columns], index, following, rows, path))


def read_rows(store: Store, path: str, columns: Sequence[str]) -> list[Row]:
    """Some columns of one Parquet file, as tuples."""
    with store.open_input(path) as file:
        table = pq.ParquetFile(file, pre_buffer=True).read(list(columns))
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))
