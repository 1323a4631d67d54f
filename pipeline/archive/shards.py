"""Writing shards: the rows of one unit of work as one sorted Parquet file.

A shard is written directly to its final, unique name below `images/`. Readers see it only after a
commit has added it to the table. A file that is never committed is an orphan, which a vacuum
removes. So a writer may die, run twice or be abandoned at any point.
"""

import contextlib
import itertools
import json
import math
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from pipeline.archive.schema import IMAGES, REJECTIONS
from pipeline.archive.sorted_tables import in_order, is_rising, side_by_side
from pipeline.storage.base import Store

pc: Any = pyarrow.compute  # its stubs refuse most mixes of columns and plain values

_UNIQUE = ("key", "etag", "source_sha256")
"""Columns with unique values, for which a Parquet dictionary would be started and abandoned."""

_COUNTED = ("key", "source_bytes", "width", "height", "quality", "payload_bytes", "psnr")
"""Columns with minimum and maximum in the transaction log, by which readers skip whole files."""

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
        stats: Delta's per-file statistics as JSON (numRecords, minValues, maxValues, nullCount).
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
            kept = _rows_of(stack.enter_context(images.open_input(base)), without=replaced, many=bool(drop))
            merged = _merge(kept, merged)
        return write_sorted(images, merged, IMAGES, row_group_bytes)


def check_rows(rows: pa.Table) -> None:
    """Check that rows can be written as a shard, by writing them to memory.

    Raises:
        Exception: anything that writing raises.
    """
    facts = _Facts()
    fresh = _conform([rows], IMAGES)
    facts.add(fresh)
    facts.to_json()
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
        files = [stack.enter_context(images.open_input(path)) for path in paths]
        merged = write_sorted(images, _merge(*map(_rows_of, files)), IMAGES, row_group_bytes)
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
    path = f"part-{uuid.uuid4().hex}.parquet"
    facts = _Facts()
    with store.open_output(path) as file:
        with pq.ParquetWriter(
            file,
            schema,
            compression={"payload": "none", **dict.fromkeys(names, "zstd")} if "payload" in schema.names else "zstd",
            use_dictionary=[name for name in names if name not in _UNIQUE],  # type: ignore[arg-type]
            write_statistics=names,
            write_page_index=True,
        ) as writer:
            while group is not None:
                facts.add(group)
                writer.write_table(group, row_group_size=group.num_rows)
                group = next(groups, None)
        size = file.tell()
    return Shard(
        path, size, time.time_ns() // 1_000_000, facts.rows, facts.least["key"], facts.greatest["key"], facts.to_json()
    )


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


def _rows_of(file: BinaryIO, without: "pa.Array[Any] | None" = None, many: bool = False) -> Iterator[pa.Table]:
    """The rows of a shard, one row group at a time, without some keys.

    With `many`, the keys are read first, so that a row group whose keys are all left out is skipped
    without reading its payloads.
    """
    parquet = pq.ParquetFile(file, pre_buffer=True)
    for index in range(parquet.num_row_groups):
        if many and pc.all(pc.is_in(parquet.read_row_group(index, ["key"])["key"], value_set=without)).as_py():
            continue
        table = parquet.read_row_group(index).select(IMAGES.names).cast(IMAGES)
        if without is not None:
            table = table.filter(pc.invert(pc.is_in(table["key"], value_set=without)))
        if table.num_rows:
            yield table


def _merge(*streams: Iterator[pa.Table]) -> Iterator[pa.Table]:
    return (
        in_order(pa.concat_tables(parts), ["key"]) for parts in side_by_side(*streams, nothing=IMAGES.empty_table())
    )


def _values(table: pa.Table, column: str) -> list[Any]:
    return table[column].to_pylist()


class _Facts:
    """Delta's per-file statistics, collected while row groups are written."""

    def __init__(self) -> None:
        self.rows = 0
        self.least: dict[str, Any] = {}
        self.greatest: dict[str, Any] = {}
        self.nulls: dict[str, int] = {}
        self._unbounded: set[str] = set()

    def add(self, group: pa.Table) -> None:
        self.rows += group.num_rows
        for name in _COUNTED:
            if name not in group.column_names:
                continue
            column = group[name]
            self.nulls[name] = self.nulls.get(name, 0) + column.null_count
            if column.null_count < len(column) and name not in self._unbounded:
                ends: dict[str, Any] = pc.min_max(column).as_py()
                if ends["max"] == math.inf:  # the PSNR of an exact picture, which JSON cannot represent
                    self._unbounded.add(name)
                    self.least.pop(name, None)
                    self.greatest.pop(name, None)
                    continue
                self.least[name] = min(self.least.get(name, ends["min"]), ends["min"])
                self.greatest[name] = max(self.greatest.get(name, ends["max"]), ends["max"])

    def to_json(self) -> str:
        return json.dumps(
            {"numRecords": self.rows, "minValues": self.least, "maxValues": self.greatest, "nullCount": self.nulls}
        )
