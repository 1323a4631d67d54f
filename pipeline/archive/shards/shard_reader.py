"""Reading single shards: some columns, a row group at a time, or one row found by its key."""

import fnmatch
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from model.core.boundary import Fault, attempt
from pipeline.archive.schema import IMAGES
from pipeline.archive.shards.row_hash import changed_rows
from pipeline.archive.shards.shard_file import ShardFile, open_shard
from pipeline.archive.shards.shard_writer import Shard
from pipeline.storage.base import StorageError, Store

Row = tuple[Any, ...]
"""Values of the columns asked for, in their order."""


def read_rows(store: Store, path: str, columns: Sequence[str]) -> list[Row]:
    """Some columns of one shard, as one tuple per row.

    Raises:
        StorageError: when it cannot be read.
    """
    table = read_columns(store, path, columns)
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


def read_columns(store: Store, path: str, columns: Sequence[str]) -> pa.Table:
    """Some columns of one shard, in that order.

    Raises:
        StorageError: when it cannot be read.
    """
    with open_shard(store, path) as parquet:
        return parquet.read(columns)


def scan_shard(images: Store, path: str, columns: Sequence[str], keys: str = "*") -> Iterator[pa.RecordBatch]:
    """Chosen columns of one shard, a row group at a time.

    Args:
        images: the table's root.
        path: of the shard, relative to it.
        columns: to read.
        keys: only rows whose key matches this glob (`fnmatch`, where `*` crosses "/").

    Raises:
        StorageError: when the shard is missing or damaged.
    """
    with open_shard(images, path) as parquet:
        for index in range(parquet.num_row_groups):
            table = _matching(parquet, index, columns, keys)
            if table is not None:
                yield from table.to_batches()


def _matching(parquet: ShardFile, index: int, columns: Sequence[str], keys: str) -> pa.Table | None:
    """Those rows of a row group whose key matches; None where there are none: then no payload is read."""
    if keys == "*":
        return parquet.read_row_group(index, columns)
    found = parquet.read_row_group(index, ["key"])["key"].to_pylist()
    wanted = [fnmatch.fnmatchcase(str(key), keys) for key in found]
    return parquet.read_row_group(index, columns, only=wanted) if any(wanted) else None


def salvaged_rows(
    images: Store, path: str, columns: Sequence[str], keys: str = "*"
) -> Iterator[list[tuple[dict[str, Any] | Fault, bool]]]:
    """The rows of a shard of images, and of each whether it is damaged, a batch at a time.

    Where a page's checksum is wrong, or a payload that rows share, the rows are read all the same, and
    their hashes tell which of them are damaged: a damaged row does not take its neighbours with it.

    Args:
        images: the table's root.
        path: of the shard, relative to it.
        columns: to read; of a damaged row they may hold anything.
        keys: as for `scan_shard`.

    Raises:
        StorageError: when the shard is missing, or so damaged that its rows cannot be told apart.
    """
    with open_shard(images, path) as parquet:
        for index in range(parquet.num_row_groups):
            try:
                table, damaged = _matching(parquet, index, columns, keys), None
            except StorageError:
                table = _matching(parquet.unchecked(), index, IMAGES.names, keys)
                damaged = table and changed_rows(table)
            if table is not None:
                rows = [row for batch in table.select(list(columns)).to_batches() for row in rows_of(batch)]
                yield list(zip(rows, damaged or [False] * len(rows), strict=True))


def salvaged_group(shard: ShardFile, index: int, columns: Sequence[str]) -> pa.Table:
    """Columns of a row group of images, of which a damaged row has nothing but key, status and width.

    A page whose checksum is wrong is read all the same, and row hashes tell the damaged rows, as in `salvaged_rows`.
    A damaged row whose key cannot be read is named by its place. One that has a height is an image, whatever its width
    says; one whose values cannot be read has no status that there is.

    Args:
        shard: an open shard.
        index: of the row group.
        columns: to read. Where `payload` is among them, it is null in damaged rows alone.

    Raises:
        StorageError: when the rows cannot be told apart.
    """
    try:
        return shard.read_row_group(index, columns, use_threads=False)
    except StorageError:
        whole = shard.unchecked().read_row_group(index, IMAGES.names, use_threads=False)
    damaged = changed_rows(whole)
    if not any(damaged):
        return whole.select(list(columns))
    rows: list[dict[str, Any]] = []
    for number, bad in enumerate(damaged):
        row = attempt(lambda number=number: whole.slice(number, 1).to_pylist()[0])  # type: ignore[misc]
        if bad or isinstance(row, Fault):
            known = {"key": f"row {number} of group {index} of {shard.url}", "status": "", "width": 1}
            if not isinstance(row, Fault):
                known = {"key": row["key"], "status": row["status"], "width": row["width"] or row["height"]}
            row = known
        rows.append({name: row.get(name) for name in columns})
    return pa.Table.from_pylist(rows, pa.schema([IMAGES.field(name) for name in columns]))


def rows_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | Fault]:
    """The rows of a batch as dictionaries; a row whose values cannot be converted is a fault.

    Text that is no UTF-8 and times out of range are in files that others wrote.
    """
    rows = attempt(batch.to_pylist)
    if not isinstance(rows, Fault):
        yield from rows
        return
    for i in range(batch.num_rows):
        yield attempt(lambda i=i: batch.slice(i, 1).to_pylist()[0])  # type: ignore[misc]  # the default binds i


def find_row(images: Store, shard: Shard, key: str, columns: Sequence[str] | None) -> dict[str, Any] | None:
    """One row of a shard, found through its row groups' statistics.

    Args:
        images: the table's root.
        shard: where to look.
        key: the source's key.
        columns: to read; None for all.

    Returns:
        Values by column, or None when the shard has no such key.

    Raises:
        StorageError: when the shard is missing or damaged.
    """
    with open_shard(images, shard.path) as parquet:
        for index in range(parquet.num_row_groups):
            ends = parquet.range_of(index, "key")
            if ends is not None and not ends[0] <= key <= ends[1]:
                continue
            keys = parquet.read_row_group(index, ["key"])["key"].to_pylist()
            if key in keys:
                names, only = columns or parquet.names, [at == keys.index(key) for at in range(len(keys))]
                try:
                    row = parquet.read_row_group(index, names, only=only)
                except StorageError:  # perhaps only a neighbour is damaged
                    whole = parquet.unchecked().read_row_group(index, IMAGES.names, only=only)
                    if changed_rows(whole) != [False]:
                        raise
                    row = whole.select(list(names))
                return dict(row.to_pylist()[0])
    return None
