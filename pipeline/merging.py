"""Rows of many sorted Parquet files as one sorted stream.

Shards are sorted inside, but their key ranges overlap once keys have been added night after night. So: a k-way merge,
in which a shard is opened only when the merge has come to its first key. Memory holds the small columns of the shards
that overlap at one point, never the whole table.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.shards import Shard
from pipeline.store import StorageError, Store

_AHEAD = 8
"""Shards that are read before the merge needs them: reading an object store is waiting."""

Row = tuple[Any, ...]

_Head = tuple[Row, int, Row, Iterator[Row], str]
"""What the merge sorts by, a number that breaks ties, the row, the rows after it, and their shard."""


def merged(
    store: Store,
    shards: Sequence[Shard],
    columns: Sequence[str],
    sort_columns: int = 1,
    unreadable: set[str] | None = None,
) -> Iterator[tuple[Row, str]]:
    """Every row as (values of `columns`, path of its shard), in rising order.

    Args:
        store: the table's root.
        shards: files to merge.
        columns: to read; "key" first, no payloads.
        sort_columns: how many of the leading columns the files are sorted by.
        unreadable: takes the paths of shards that cannot be read, which are then left out.

    Raises:
        StorageError: for a shard that cannot be read, unless `unreadable` takes it.
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
                try:
                    rows = iter(future.result())
                except StorageError:
                    if unreadable is None:
                        raise
                    unreadable.add(shard.path)
                    continue
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
    """Some columns of one Parquet file, as tuples.

    Raises:
        StorageError: when it cannot be read.
    """
    with reading_shard(store, path) as parquet:
        table = parquet.read(list(columns))
        return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


@contextmanager
def reading_shard(store: Store, path: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file, open for the length of a `with` block.

    Raises:
        StorageError: naming the file, when it is missing or damaged, also when that shows only inside the block.
    """
    try:
        with store.open_input(path) as file:
            yield pq.ParquetFile(file, pre_buffer=True)
    except (pa.ArrowException, OSError) as e:
        raise StorageError(
            f"the shard {store.url}/{path} cannot be read: {str(e).strip().splitlines()[0][:200]}"
        ) from e
