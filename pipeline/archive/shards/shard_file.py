"""One open Parquet file of a table: page checksums are verified, and columns come in the table's types.

Other tools that write to the table choose other Arrow types for the same values (`string_view`,
`large_string`, dictionaries), other row groups, and other orders of the rows. This module is where
that ends: everything above it sees the types of the schema.

It is also where rows become whole: a payload that rows share (`pipeline.archive.shards.shared_payloads`) is
in its row for everybody who reads payloads, except for those who ask for rows as they are stored.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from pipeline.archive.schema import ADDED, IMAGES, REJECTIONS, RELEASES
from pipeline.archive.shards.shared_payloads import PAYLOAD, POINTER, SIZE, made_whole
from pipeline.archive.shards.sorted_tables import Column, in_order, is_rising
from pipeline.storage.base import Readable, StorageError
from pipeline.storage.error_text import one_line
from pipeline.storage.parquet_footer import ChunkFacts, chunks_of

pc: Any = pyarrow.compute  # its stubs refuse most mixes of columns and plain values

_FIELDS: "dict[str, pa.Field[Any]]" = {
    field.name: field for schema in (REJECTIONS, RELEASES, IMAGES) for field in schema
}
_USUAL = ("key", "status", "width", POINTER)
"""Columns whose statistics decide what is read."""
MOST_SORTED_BYTES = 2 << 30
"""Largest file whose rows are sorted in memory."""


class ShardFile:
    """An open shard.

    Attributes:
        url: of the file, for messages.
        metadata: of the Parquet file.
    """

    def __init__(self, file: BinaryIO, url: str, store: Readable, *, checked: bool = True) -> None:
        """Read the footer.

        Args:
            file: seekable.
            url: for messages.
            store: the root of its table, with the payloads that rows share.
            checked: pages whose checksum is wrong, and shared payloads that are missing or damaged,
                are errors.

        Raises:
            StorageError: when it is not a Parquet file.
        """
        self.url = url
        self._file, self._store, self._checked = file, store, checked
        with self._reading():
            self._parquet = pq.ParquetFile(file, pre_buffer=True, page_checksum_verification=checked)
            self._names = list(self._parquet.schema_arrow.names)
            self.metadata: pq.FileMetaData = self._parquet.metadata
        self._chunks: list[dict[int, ChunkFacts]] = []

    def unchecked(self) -> "ShardFile":
        """The same file, in which pages whose checksum is wrong are read all the same.

        Rows whose shared payload is missing or damaged stay as they are stored, so that their hash does not hold.
        """
        return ShardFile(self._file, self.url, self._store, checked=False)

    @property
    def num_row_groups(self) -> int:
        """Number of row groups."""
        return self._parquet.num_row_groups

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return self._names

    def column_index(self, name: str) -> int:
        """The position of a column in the metadata.

        Raises:
            StorageError: when the file lacks it.
        """
        if name not in self._names:
            raise StorageError(
                f"the shard {self.url} has no column {name}: another tool or another version of maepress wrote it"
            )
        return self._names.index(name)

    def read(self, columns: Sequence[str], use_threads: bool = False) -> pa.Table:
        """Some columns of all rows, in that order; a column of ADDED that the file lacks is null.

        Raises:
            StorageError: when the file is damaged or lacks a column.
        """
        groups = range(self.num_row_groups)
        wanted = self._with_pointers(columns, groups)
        there = self._there(wanted)
        with self._reading():
            table = self._parquet.read(there, use_threads=use_threads)
            table = self._conformed(table, wanted, self.metadata.num_rows)
        return self._whole(table, columns)

    def read_row_group(
        self,
        index: int,
        columns: Sequence[str],
        use_threads: bool = True,
        *,
        only: "Sequence[bool] | None" = None,
        as_stored: bool = False,
    ) -> pa.Table:
        """Some columns of one row group, in that order; a column of ADDED that the file lacks is null.

        Args:
            index: of the row group.
            columns: to read.
            use_threads: read columns in parallel.
            only: for each row whether it is wanted; None for all. Shared payloads of others are not read.
            as_stored: leave a shared payload where it is, for those who copy rows.

        Raises:
            StorageError: when the file or a shared payload is damaged, or the file lacks a column.
        """
        wanted = list(columns) if as_stored else self._with_pointers(columns, [index])
        there = self._there(wanted)
        with self._reading():
            table = self._parquet.read_row_group(index, there, use_threads=use_threads)
            table = self._conformed(table, wanted, self.metadata.row_group(index).num_rows)
        if only is not None:
            table = table.filter(pa.array(only, pa.bool_()))
        return table if as_stored else self._whole(table, columns)

    def may_hold(self, index: int, name: str) -> bool:
        """Whether a row group may hold a value of a column that is no null, as far as the footer tells."""
        if name not in self._names:
            return False
        nulls = self._facts(index, name).nulls
        return nulls is None or nulls < self.metadata.row_group(index).num_rows

    def _with_pointers(self, columns: Sequence[str], groups: Iterable[int]) -> list[str]:
        """The columns, and those by which shared payloads are found, if payloads are wanted and some may be shared."""
        if PAYLOAD not in columns or not any(self.may_hold(index, POINTER) for index in groups):
            return list(columns)
        return list(dict.fromkeys([*columns, POINTER, SIZE]))

    def _whole(self, table: pa.Table, columns: Sequence[str]) -> pa.Table:
        if PAYLOAD not in columns or POINTER not in table.column_names:
            return table
        return made_whole(table, self._store, strict=self._checked).select(list(columns))

    def range_of(self, index: int, name: str) -> tuple[str, str] | None:
        """Minimum and maximum of a column of texts or integers in a row group, as texts; None without statistics."""
        facts = self._facts(index, name)
        if facts.minimum is None or facts.maximum is None:
            return None
        kind = self._parquet.schema_arrow.field(name).type
        with self._reading():
            return _text(facts.minimum, kind), _text(facts.maximum, kind)

    def _facts(self, index: int, name: str) -> ChunkFacts:
        leaf = self.column_index(name)
        if not self._chunks or leaf not in self._chunks[0]:  # once for all columns that are usually asked for
            usual = {self._names.index(name) for name in _USUAL if name in self._names}
            with self._reading():
                self._chunks = chunks_of(self.metadata, usual | {leaf})
        return self._chunks[index][leaf]

    def _there(self, columns: Sequence[str]) -> list[str]:
        """Those of the columns that the file has; the others are of ADDED."""
        there = [name for name in columns if name in self._names or name not in ADDED]
        for name in there:
            self.column_index(name)
        return there

    def _conformed(self, table: pa.Table, columns: Sequence[str], rows: int) -> pa.Table:
        if len(columns) != table.num_columns:
            table = _with_nulls(table, columns, rows)
        made = table.select(list(columns))
        for at, field in enumerate(made.schema):
            own = _FIELDS.get(field.name, field)
            if field != own:
                made = made.set_column(at, own, made.column(at).cast(own.type))
        return made

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError) as e:
            raise StorageError(f"the shard {self.url} cannot be read: {one_line(e)}") from e


def _text(stored: bytes, kind: "pa.DataType") -> str:
    """A minimum or maximum as a text."""
    return str(int.from_bytes(stored, "little", signed=True)) if pa.types.is_integer(kind) else stored.decode()


def _with_nulls(table: pa.Table, columns: Sequence[str], rows: int) -> pa.Table:
    """The columns, of which those that a file lacks are null."""
    there = set(table.column_names)
    nothing: dict[str, Any] = {name: pa.nulls(rows, _FIELDS[name].type) for name in columns if name not in there}
    made: list[Any] = [table[name] if name in there else nothing[name] for name in columns]
    return pa.Table.from_arrays(made, list(columns))


@contextmanager
def open_shard(store: Readable, path: str) -> Iterator[ShardFile]:
    """A shard as an open file, for the length of a `with` block.

    Raises:
        StorageError: naming the file, when it is missing or damaged.
    """
    with store.open_input(path) as file:
        yield ShardFile(file, f"{store.url}/{path}", store)


def rows_in_order(
    shard: ShardFile, schema: pa.Schema, without: "pa.Array[Any] | None" = None, many: bool = False
) -> Iterator[pa.Table]:
    """The rows of a shard in key order as they are stored, without some keys, one row group at a time.

    Our own shards are sorted. A shard that another tool rewrote may hold its rows in any order; if
    its row groups overlap, all of its rows are read at once and sorted.

    Args:
        shard: an open shard.
        schema: of its table.
        without: keys to leave out.
        many: the keys are read first, so that a row group whose keys are all left out is skipped
            without reading its payloads.

    Raises:
        StorageError: when the rows have to be sorted and are more than `MOST_SORTED_BYTES`.
    """
    groups = range(shard.num_row_groups)
    if not _groups_follow(shard):
        size = sum(shard.metadata.row_group(index).total_byte_size for index in groups)
        if size > MOST_SORTED_BYTES:
            raise StorageError(
                f"the shard {shard.url} is not in key order, and with {size / 2**30:.1f} GiB too large to be sorted: "
                "another tool rewrote it; restore the version before that"
            )
        table = pa.concat_tables([shard.read_row_group(index, schema.names, as_stored=True) for index in groups])
        yield from _chosen(table, schema, without)
        return
    for index in groups:
        if many and pc.all(pc.is_in(shard.read_row_group(index, ["key"])["key"], value_set=without)).as_py():
            continue
        yield from _chosen(shard.read_row_group(index, schema.names, as_stored=True), schema, without)


def _groups_follow(shard: ShardFile) -> bool:
    """Whether each row group's keys are above those of the group before, by their statistics."""
    ranges = [shard.range_of(index, "key") for index in range(shard.num_row_groups)]
    if len(ranges) < 2:
        return True
    known = [ends for ends in ranges if ends is not None]
    return len(known) == len(ranges) and all(before[1] < after[0] for before, after in itertools.pairwise(known))


def _chosen(table: pa.Table, schema: pa.Schema, without: "pa.Array[Any] | None") -> Iterator[pa.Table]:
    table = table.cast(schema)
    if without is not None:
        table = table.filter(pc.invert(pc.is_in(table["key"], value_set=without)))
    if table.num_rows:
        keys: Column = table["key"]
        yield table if is_rising(keys, strictly=False) else in_order(table, ["key"])
