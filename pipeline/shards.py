"""Writing one unit of work as one Parquet file, and the receipt that the driver commits.

A shard is written straight to its final, unique name below `images/`. Nobody sees it until a commit names it; when no
commit ever does, it is an orphan that a vacuum removes. So a writer may die, be run twice or be forgotten at any
point.
"""

import contextlib
import heapq
import itertools
import json
import math
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.schema import IMAGES, REJECTIONS
from pipeline.store import Store

_UNIQUE = ("key", "etag", "source_sha256")
"""Columns of which no two values are equal: a dictionary would only be given up half-way."""

_COUNTED = ("key", "source_bytes", "width", "height", "quality", "payload_bytes", "psnr")
"""Columns with least and greatest value in the transaction log, where readers skip whole files by them."""

_MAX_GROUP_ROWS = 16384


@dataclass(frozen=True, slots=True)
class Shard:
    """A Parquet file that is written, as the transaction log will name it.

    Attributes:
        path: relative to the table's root.
        size: bytes.
        modified_ms: milliseconds since 1970.
        rows: number of rows.
        first_key: least key.
        last_key: greatest key.
        stats: Delta's per-file statistics as JSON (numRecords, minValues, maxValues, nullCount).
    """

    path: str
    size: int
    modified_ms: int
    rows: int
    first_key: str
    last_key: str
    stats: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """A (key, etag) that could not be pressed: at which stage (see REJECTIONS), and why in one line."""

    key: str
    etag: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one unit did; small, travels to the driver, which commits it.

    Attributes:
        unit: the unit's number in the plan.
        add: the shard written, None when no row is left.
        remove: path of the shard that this one replaces (copy on write), None for new keys.
        rejections: what could not be pressed.
        retired: rows that left, as their source is gone.
        rows: rows pressed or kept in this unit (rows copied from `remove` do not count).
        latents: of these, rows whose status is latent.
        transcoded: of these, rows whose status is jxl.
        kept: rows whose source is kept without loss, transcoded or not, by reason.
        source_bytes: bytes of the sources of `rows`.
        payload_bytes: bytes of the payloads of `rows`.
        pixels: width times height over `rows`.
    """

    unit: int
    add: Shard | None = None
    remove: str | None = None
    rejections: tuple[Rejection, ...] = field(default=())
    retired: int = 0
    rows: int = 0
    latents: int = 0
    transcoded: int = 0
    kept: tuple[tuple[str, int], ...] = ()
    source_bytes: int = 0
    payload_bytes: int = 0
    pixels: int = 0


def write_shard(
    images: Store,
    rows: Iterable[pa.Table],
    *,
    base: str | None = None,
    drop: Collection[str] = (),
    row_group_bytes: int = 4 << 20,
) -> Shard | None:
    """Write rows as one shard, merged with an older shard when there is one.

    Args:
        images: the table's root (`Archive.images`).
        rows: tables in the schema IMAGES, in any order; each key at most once. They are held in memory together.
        base: path of the shard to replace, relative to `images`. It is read a row group at a time; its rows are
            copied as they are, except those whose key is in `rows` (replaced) or in `drop` (gone).
        drop: keys that leave the archive. A key whose new version could not be pressed is best not dropped: its old
            row stays.
        row_group_bytes: payload bytes after which a row group ends.

    Returns:
        The facts for a Receipt, or None when no row is left (nothing is written then).

    Raises:
        ValueError: for a key given twice, or a null where the schema allows none.
        StorageError: when the store cannot be read or written.
    """
    table = _conform(rows, IMAGES)
    fresh = list(_sorted_rows(table))
    merged: Iterable[_Row] = fresh
    with contextlib.ExitStack() as stack:
        if base is not None:
            gone = {row.key for row in fresh}.union(drop)
            kept = (row for row in _rows_of(stack.enter_context(images.open_input(base))) if row.key not in gone)
            merged = heapq.merge(kept, fresh, key=lambda row: row.key)
        return write_sorted(images, merged, IMAGES, row_group_bytes)


def write_rejections(rejections: Store, table: pa.Table) -> Shard | None:
    """Write rows of the schema REJECTIONS as one file of the rejections table, in order of key and etag."""
    rows = _conform([table], REJECTIONS).sort_by([("key", "ascending"), ("etag", "ascending")])
    return write_sorted(
        rejections, (_Row(key, rows.slice(i, 1), 0) for i, key in enumerate(_values(rows, "key"))), REJECTIONS, 0
    )


class _Row(NamedTuple):
    key: str
    table: pa.Table  # one row
    payload_bytes: int


def write_sorted(store: Store, rows: Iterable[_Row], schema: pa.Schema, row_group_bytes: int) -> Shard | None:
    """Write rows that come in key order as one Parquet file with a unique name, a row group at a time.

    The payload column is stored as it is (it is compressed already) and without statistics; columns that repeat get a
    dictionary.
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


def _row_groups(rows: Iterable[_Row], row_group_bytes: int) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    size = 0
    for row in rows:
        held.append(row.table)
        size += row.payload_bytes
        if size >= row_group_bytes > 0 or len(held) >= _MAX_GROUP_ROWS:
            yield pa.concat_tables(held)
            held, size = [], 0
    if held:
        yield pa.concat_tables(held)


def _conform(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    """One table in exactly the schema; chunks are kept, so that no column has to fit the 2 GiB of one binary array."""
    table = pa.concat_tables([schema.empty_table(), *(t.select(schema.names).cast(schema) for t in tables)])
    for column in schema:
        if not column.nullable and table[column.name].null_count:
            raise ValueError(f"the column {column.name} must not hold nulls")
    return table


def _sorted_rows(table: pa.Table) -> Iterator[_Row]:
    keys, sizes = _values(table, "key"), _values(table, "payload_bytes")
    order = sorted(range(len(keys)), key=keys.__getitem__)
    for before, after in itertools.pairwise(order):
        if keys[before] == keys[after]:
            raise ValueError(f"the key {keys[before]!r} is there twice")
    # Row by row slices share the table's buffers; taking the payload column in the new order would copy it.
    return (_Row(keys[i], table.slice(i, 1), sizes[i]) for i in order)


def _rows_of(file: BinaryIO) -> Iterator[_Row]:
    parquet = pq.ParquetFile(file, pre_buffer=True)
    for index in range(parquet.num_row_groups):
        table = parquet.read_row_group(index).select(IMAGES.names).cast(IMAGES)
        keys, sizes = _values(table, "key"), _values(table, "payload_bytes")
        yield from (_Row(key, table.slice(i, 1), size) for i, (key, size) in enumerate(zip(keys, sizes, strict=True)))


def _values(table: pa.Table, column: str) -> list[Any]:
    return table[column].to_pylist()


class _Facts:
    """Delta's per-file statistics, gathered while row groups pass by."""

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
                ends: dict[str, Any] = pc.min_max(column).as_py()  # type: ignore[assignment]
                if ends["max"] == math.inf:  # the PSNR of an exact picture: JSON has no word for it
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
