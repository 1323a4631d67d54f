"""Writing shards: the rows of one unit of work as one sorted Parquet file.

A shard is written directly to its final, unique name below `images/`. Readers see it only after a
commit has added it to the table. A file that is never committed is an orphan, which a vacuum
removes. So a writer may die, run twice or be abandoned at any point.
"""

import contextlib
import itertools
import re
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from model.core.errors import MaepressError
from pipeline.archive.schema import IMAGES, REJECTIONS, ROW_SHA256
from pipeline.archive.shards.shard_facts import HashingFile, ShardFacts
from pipeline.archive.shards.shard_file import open_shard, rows_in_order
from pipeline.archive.shards.sorted_tables import Column, in_order, is_rising, side_by_side
from pipeline.storage.base import Store

pc: Any = pyarrow.compute  # its stubs refuse most mixes of columns and plain values

_UNIQUE = ("key", "etag", "source_sha256", ROW_SHA256)
"""Columns with unique values, for which a Parquet dictionary would be started and abandoned."""

_OWN_PATH = re.compile(r"part-[0-9a-f]{32}\.parquet")
_MAX_GROUP_ROWS = 16384
_SLICES = 256

ROW_GROUP_BYTES = 4 << 20
"""Payload bytes per row group, which is read as a whole to get one key."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished Parquet file, as it is described in the transaction log.

    Attributes:
        path: relative to the table's root.
        size: in bytes.
        modified_ms: time of writing, in milliseconds since 1970.
        rows: number of rows.
        first_key: smallest key.
        last_key: largest key.
        stats: Delta's per-file statistics as JSON (numRecords, minValues, maxValues, nullCount), and its SHA-256.
    """

    path: str
    size: int
    modified_ms: int
    rows: int
    first_key: str
    last_key: str
    stats: str


def write_shard(
    images: Store,
    rows: Iterable[pa.Table],
    *,
    base: str | None = None,
    drop: Collection[str] = (),
    row_group_bytes: int = ROW_GROUP_BYTES,
) -> Shard | None:
    """Write rows as one shard, merged with an older shard if there is one.

    Args:
        images: the table's root (`Archive.images`).
        rows: tables with the schema IMAGES, in any order; each key at most once. All are held in
            memory.
        base: path of the shard to replace, relative to `images`. It is read one row group at a
            time; its rows are copied unchanged, except those with a key in `rows` (replaced) or in
            `drop` (removed).
        drop: keys to remove from the archive. To keep the old row of a key whose new version failed
            to encode, leave the key out.
        row_group_bytes: payload bytes after which a row group ends.

    Returns:
        The shard, or None when no row is left; nothing is written then.

    Raises:
        ValueError: for a key given twice, or a null where the schema allows none.
        StorageError: when the store cannot be read or written.
    """
    fresh = _conform(rows, IMAGES)
    merged = _sorted(fresh)
    with contextlib.ExitStack() as stack:
        if base is not None:
            replaced = pa.array({*drop, *_values(fresh, "key")}, pa.string())
            kept = rows_in_order(stack.enter_context(open_shard(images, base)), IMAGES, replaced, many=bool(drop))
            merged = _merge(kept, merged)
        return write_sorted(images, merged, IMAGES, row_group_bytes)


def check_rows(rows: pa.Table) -> None:
    """Check that rows can be written as a shard, by writing them to memory.

    Raises:
        Exception: anything that writing raises.
    """
    facts = ShardFacts()
    fresh = _conform([rows], IMAGES)
    facts.add(fresh)
    facts.to_json("")
    pq.write_table(fresh, pa.BufferOutputStream())


def merge_shards(images: Store, paths: Sequence[str], row_group_bytes: int = ROW_GROUP_BYTES) -> Shard:
    """Write the rows of several shards as one; memory holds one row group of each.

    Args:
        images: the table's root.
        paths: of the shards, relative to it; no key is in two of them.
        row_group_bytes: payload bytes after which a row group ends.

    Raises:
        StorageError: when the store cannot be read or written.
    """
    with contextlib.ExitStack() as stack:
        shards = [stack.enter_context(open_shard(images, path)) for path in paths]
        rows = _merge(*(rows_in_order(shard, IMAGES) for shard in shards))
        merged = write_sorted(images, rows, IMAGES, row_group_bytes)
    assert merged is not None  # no shard is empty
    return merged


def write_rejections(rejections: Store, table: pa.Table) -> Shard | None:
    """Write rows of the schema REJECTIONS as one file, sorted by key and etag."""
    rows = _conform([table], REJECTIONS)
    return write_sorted(rejections, iter([in_order(rows, ["key", "etag"])]), REJECTIONS, 0)


def write_sorted(store: Store, rows: Iterator[pa.Table], schema: pa.Schema, row_group_bytes: int) -> Shard | None:
    """Write tables in key order as one Parquet file with a unique name, one row group at a time.

    The payload column is stored as it is (it is compressed already) and without statistics; columns
    that repeat get a dictionary.

    Args:
        store: the table's root.
        rows: in the schema.
        schema: of the file.
        row_group_bytes: payload bytes after which a row group ends; 0: only their number of rows is
            limited.

    Returns:
        The file's facts, or None when there are no rows (nothing is written then).
    """
    groups = _row_groups(rows, row_group_bytes)
    group = next(groups, None)
    if group is None:
        return None
    names = [name for name in schema.names if name != "payload"]
    path = _new_path()
    facts = ShardFacts()
    last: str | None = None
    with store.open_output(path) as file:
        hashed: Any = HashingFile(file)
        with pq.ParquetWriter(
            hashed,
            schema,
            compression={"payload": "none", **dict.fromkeys(names, "zstd")} if "payload" in schema.names else "zstd",
            use_dictionary=[name for name in names if name not in _UNIQUE],  # type: ignore[arg-type]
            write_statistics=names,
            write_page_index=True,
            write_page_checksum=True,
        ) as writer:
            while group is not None:
                last = _check_order(group["key"], last, "payload" in schema.names, store)
                facts.add(group)
                writer.write_table(group, row_group_size=group.num_rows)
                group = next(groups, None)
        size = file.tell()
    return Shard(
        path,
        size,
        time.time_ns() // 1_000_000,
        facts.rows,
        facts.least["key"],
        facts.greatest["key"],
        facts.to_json(hashed.hexdigest()),
    )


def _new_path() -> str:
    return f"part-{uuid.uuid4().hex}.parquet"


def is_own_path(path: str) -> bool:
    """Whether a file's name is one that `write_sorted` gives, and not another tool's."""
    return _OWN_PATH.fullmatch(path) is not None


def _check_order(keys: Column, last: str | None, strictly: bool, store: Store) -> str:
    """Check that the keys of a row group follow those before it.

    A shard that is not in order would be read wrongly later, and rows come from shards that other
    tools may have rewritten.

    Returns:
        The last key, to be given with the next group.
    """
    first = str(keys[0].as_py())
    follows = last is None or last < first or (last == first and not strictly)
    if not follows or not is_rising(keys, strictly=strictly):
        raise MaepressError(f"a shard of {store.url} would not be in key order from {first!r} on: nothing was written")
    return str(keys[-1].as_py())


def _row_groups(tables: Iterator[pa.Table], most_bytes: int) -> Iterator[pa.Table]:
    """The rows, cut into row groups by payload bytes (no limit if 0) and by number of rows."""
    held: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        sizes = table["payload_bytes"].to_numpy() if most_bytes else np.zeros(table.num_rows, np.int64)
        ends = np.cumsum(sizes)
        start = before = 0
        while start < table.num_rows:
            # The end of the first row with which the group is full.
            full = int(np.searchsorted(ends, before + most_bytes - size)) + 1 if most_bytes else table.num_rows
            end = min(full, table.num_rows, start + _MAX_GROUP_ROWS - rows)
            held.append(table.slice(start, end - start))
            rows, size = rows + end - start, size + int(ends[end - 1]) - before
            start, before = end, int(ends[end - 1])
            if rows == _MAX_GROUP_ROWS or size >= most_bytes > 0:
                yield pa.concat_tables(held)
                held, rows, size = [], 0, 0
    if held:
        yield pa.concat_tables(held)


def _conform(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    """One table with exactly this schema.

    Its columns stay in chunks, because one binary array can hold only 2 GiB.
    """
    table = pa.concat_tables([schema.empty_table(), *(t.select(schema.names).cast(schema) for t in tables)])
    for column in schema:
        if not column.nullable and table[column.name].null_count:
            raise ValueError(f"the column {column.name} must not hold nulls")
    return table


def _sorted(table: pa.Table) -> Iterator[pa.Table]:
    """The rows in key order, as slices that share the table's buffers: payloads are not copied.

    Raises:
        ValueError: for a duplicate key.
    """
    if table.num_rows == 0:
        return
    if is_rising(table["key"], strictly=True):
        yield table
        return
    keys = _values(table, "key")
    order = sorted(range(len(keys)), key=keys.__getitem__)
    for before, after in itertools.pairwise(order):
        if keys[before] == keys[after]:
            raise ValueError(f"the key {keys[before]!r} is there twice")
    for run in range(0, len(order), _SLICES):
        yield pa.concat_tables([table.slice(i, 1) for i in order[run : run + _SLICES]])


def _merge(*streams: Iterator[pa.Table]) -> Iterator[pa.Table]:
    return (
        in_order(pa.concat_tables(parts), ["key"]) for parts in side_by_side(*streams, nothing=IMAGES.empty_table())
    )


def _values(table: pa.Table, column: str) -> list[Any]:
    return table[column].to_pylist()
