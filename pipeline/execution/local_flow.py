"""Work on shards in this process, on a thread per core.

Each thread has a worker of its own, with one torch thread. Reading is done by the caller's thread,
a few tables ahead of the workers, so memory does not grow with the archive.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import pyarrow as pa

from model.core.cores import cores
from pipeline.execution.packing import unpack
from pipeline.execution.shard_work import ShardWork, tables_of

Input = TypeVar("Input")
Output = TypeVar("Output")
ROWS_PER_CALL = 8
"""Items per call of a worker, at most: enough to decode pictures of equal size together."""
CALLS = 2
"""Calls that each thread gets at least, if there are so many items, so that none waits long for the last."""


def run(paths: Sequence[str], work: ShardWork) -> Generator[Any, None, None]:
    """Do the work on all shards, and yield the items in their order; see `shard_flow.run_shards`."""
    own = threading.local()

    def process(table: pa.Table) -> list[pa.Table]:
        if not hasattr(own, "worker"):
            own.worker = work.worker(*work.arguments, 1)
        done = list(tables_of(own.worker(table)))
        return done if work.finish is None else [last for one in done for last in tables_of(work.finish(one))]

    for tables in in_order(_slices(paths, work), process, cores()):
        for table in tables:
            yield from (unpack(cell) for cell in table["item"])


def in_order(inputs: Iterable[Input], work: Callable[[Input], Output], threads: int) -> Generator[Output, None, None]:
    """The results of `work` on all inputs, in their order, by threads that are at most two inputs each ahead.

    When the generator is closed, or an error ends it, what has not begun is dropped and what has
    begun is waited for.
    """
    pending: deque[Future[Output]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="maepress-work")
    try:
        for one in inputs:
            pending.append(pool.submit(work, one))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _slices(paths: Sequence[str], work: ShardWork) -> Iterator[pa.Table]:
    size = max(1, min(ROWS_PER_CALL, work.rows // (CALLS * cores())))
    for path in paths:
        for table in tables_of(work.read(pa.table({"shard": [path]}))):
            for start in range(0, table.num_rows, size):
                yield table.slice(start, size)
