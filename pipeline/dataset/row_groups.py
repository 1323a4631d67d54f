"""Selects the rows of a data set, by row group: the smallest part of a shard that is worth a read.

Unwanted rows are left out as early as possible: shards by the key range in the transaction log, row groups by their
statistics, rows by two small columns. Payloads are read only of row groups with wanted rows.
"""

import fnmatch
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa

from pipeline.archive.archive import Archive
from pipeline.archive.key_choice import literal_prefix
from pipeline.archive.schema import COMPRESSED, KEPT_ANYHOW
from pipeline.archive.shards.shard_file import ShardFile, open_shard
from pipeline.archive.shards.shard_reader import salvaged_group
from pipeline.archive.shards.shard_writer import Shard
from pipeline.storage.base import Readable, Store

STATUSES = (*COMPRESSED, *KEPT_ANYHOW)
MASKED = ("key", "status", "width")
_AT_ONCE = 8
"""Shards whose footers are read concurrently, as reading from an object store is mostly waiting."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filter of a data set's rows. Files that are no image, whose width is 0, never pass.

    Rows of a status that there is not pass, as damage makes them: they are named where they are decoded, and not lost.

    Attributes:
        keys: a glob for `fnmatch.fnmatchcase`, where `*` crosses "/".
        statuses: values of the column `status`.
    """

    keys: str = "*"
    statuses: tuple[str, ...] = STATUSES

    def every_image(self) -> bool:
        """Whether every row that is an image passes the filter."""
        return self.keys == "*" and set(self.statuses) >= set(STATUSES)

    def mask(self, rows: pa.Table) -> list[bool]:
        """Whether each row of a table with the columns MASKED is wanted."""
        keys, statuses, widths = (rows[name].to_pylist() for name in MASKED)
        if self.every_image():
            return [width != 0 for width in widths]
        return [
            width != 0
            and (status in self.statuses or status not in STATUSES)
            and fnmatch.fnmatchcase(str(key), self.keys)
            for key, status, width in zip(keys, statuses, widths, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group with wanted rows: path of its shard, its index there, and the number of wanted rows."""

    shard: str
    index: int
    rows: int


@dataclass(frozen=True, slots=True)
class Span:
    """Wanted rows `start` to `stop` of a row group."""

    group: RowGroup
    start: int
    stop: int


def row_groups(archive: Archive, wanted: Wanted, version: int | None = None) -> list[RowGroup]:
    """The row groups with wanted rows, ordered by first key; no payload is read.

    Raises:
        StorageError: when a shard cannot be read.
    """
    prefix = literal_prefix(wanted.keys)
    shards = [s for s in archive.shards(version) if s.last_key >= prefix and s.first_key <= prefix + "\U0010ffff"]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [
            group for groups in pool.map(lambda s: _of_shard(archive.images, s, wanted), shards) for group in groups
        ]


def read_spans(images: Readable, spans: Sequence[Span], wanted: Wanted, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Read columns of the rows of spans, one table per span; neighbouring spans of a shard share one open file.

    A damaged row has no value but key and status.

    Raises:
        StorageError: when a shard is missing, or so damaged that its rows cannot be told apart.
    """
    for shard, some in groupby(spans, key=lambda span: span.group.shard):
        with open_shard(images, shard) as parquet:
            for span in some:
                names = list(dict.fromkeys([*columns, *MASKED]))
                table = salvaged_group(parquet, span.group.index, names)
                table = table.filter(pa.array(wanted.mask(table), pa.bool_()))
                yield table.slice(span.start, span.stop - span.start).select(list(columns))


def _of_shard(images: Store, shard: Shard, wanted: Wanted) -> list[RowGroup]:
    with open_shard(images, shard.path) as parquet:
        counted = ((index, _count(parquet, index, wanted)) for index in range(parquet.num_row_groups))
        return [RowGroup(shard.path, index, rows) for index, rows in counted if rows]


def _count(parquet: ShardFile, index: int, wanted: Wanted) -> int:
    facts = parquet.metadata.row_group(index)
    widths = parquet.range_of(index, "width")
    images_only = widths is not None and widths[0] != "0"
    if wanted.every_image() and images_only:
        return int(facts.num_rows)
    key, status = (parquet.range_of(index, name) for name in ("key", "status"))
    prefix = literal_prefix(wanted.keys)
    if key is not None and not (key[1] >= prefix and key[0] <= prefix + "\U0010ffff"):
        return 0
    if status is not None and status[0] == status[1]:  # one status in the whole group
        if status[0] not in wanted.statuses:
            return 0
        if wanted.keys == "*" and images_only:
            return int(facts.num_rows)
    return sum(wanted.mask(salvaged_group(parquet, index, list(MASKED))))
