"""Listings that come in any order, in key order: sorted on disk, so that memory does not grow with them.

    tables in any order --sort 2^19 rows--> runs on disk --merge--> entries in byte order of the key

Of several entries with one key the first that was given counts.
"""

import heapq
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from pipeline.storage.base import Entry
from pipeline.storage.cache_folder import cache_folder_of
from pipeline.storage.local.disk_errors import cannot_write

pc: Any = pyarrow.compute  # its stubs reject most mixes of columns and plain values

_ENTRY: dict[str, pa.DataType] = {"key": pa.string(), "size": pa.int64(), "etag": pa.string()}
ENTRIES = pa.schema(_ENTRY)
"""What is sorted: the columns of an entry."""
RUN_ROWS = 1 << 19
MOST_RUNS = 256
"""Runs that are merged at once: each is an open file, and holds a batch in memory."""
_BATCH_ROWS = 1024
Row = tuple[str, int, str]
_ABANDONED_SECONDS = 7 * 86400
"""A killed job leaves its folder behind; another one removes it after this time without a change."""


def in_key_order(tables: Iterable[pa.Table], run_rows: int = RUN_ROWS) -> Generator[Entry, None, None]:
    """The entries of all tables in byte order of the key, each key once.

    Args:
        tables: of the schema ENTRIES, in any order.
        run_rows: rows that are sorted in memory.

    Raises:
        Unwritable: when the cache's disk takes nothing.
        Exception: any error of `tables`.
    """
    place = cache_folder_of("sorting")
    _remove_abandoned(place)
    folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=place))
    try:
        runs = [_written(folder / f"{number}", [run]) for number, run in enumerate(_sorted_runs(tables, run_rows))]
        yield from itertools.starmap(Entry, _merged(_fewer(folder, runs)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fewer(folder: Path, runs: list[Path]) -> list[Path]:
    """Runs that can be open at the same time: neighbours are merged into longer ones while there are too many."""
    for level in itertools.count():
        if len(runs) <= MOST_RUNS:
            return runs
        groups = [runs[at : at + MOST_RUNS] for at in range(0, len(runs), MOST_RUNS)]
        runs = [_written(folder / f"{level}-{number}", _tables(_merged(some))) for number, some in enumerate(groups)]
        for path in itertools.chain(*groups):
            path.unlink()
    raise AssertionError("unreachable")


def _merged(runs: list[Path]) -> Iterator[Row]:
    """The rows of runs, each key once."""
    streams = [_rows(path) for path in runs]
    last: str | None = None
    for row in heapq.merge(*streams, key=lambda row: row[0]):  # stable: earlier runs first
        if row[0] != last:
            yield row
        last = row[0]


def _tables(rows: Iterator[Row]) -> Iterator[pa.Table]:
    while some := list(itertools.islice(rows, 1 << 16)):
        yield pa.table(list(map(list, zip(*some, strict=True))), schema=ENTRIES)


def _sorted_runs(tables: Iterable[pa.Table], run_rows: int) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table.select(ENTRIES.names).cast(ENTRIES))
        if sum(some.num_rows for some in waiting) >= run_rows:
            yield _sorted(waiting)
            waiting = []
    if waiting:
        yield _sorted(waiting)


def _sorted(tables: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables(tables).combine_chunks()
    order = pc.sort_indices(table, sort_keys=[("key", "ascending")])  # stable, and by bytes as Python's `str` is
    return table.take(order)


def _written(path: Path, tables: Iterable[pa.Table]) -> Path:
    try:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, ENTRIES) as writer:
            for table in tables:
                writer.write_table(table, max_chunksize=_BATCH_ROWS)
    except OSError as e:
        remedy = "free space there, or set XDG_CACHE_HOME to a folder on another disk"
        raise cannot_write(f"the cache for sorting, {path.parent.parent},", e, remedy) from e
    return path


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a run; one batch is in memory."""
    with pa.OSFile(str(path), "rb") as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            columns = [column.to_pylist() for column in reader.get_batch(number).columns]
            yield from zip(*columns, strict=True)


def _remove_abandoned(place: Path) -> None:
    for folder in place.iterdir():
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
