"""What the footer of a Parquet file says of its column chunks, without `RowGroupMetaData.column` of pyarrow.

That method ends the process where a chunk contradicts the schema, as after a single flipped bit: pyarrow declares it as
one that throws no C++ exceptions. So the footer, which pyarrow has parsed and writes again, is read here: it is a
structure of Apache Thrift in its compact protocol (parquet-format, `parquet.thrift` and thrift-compact-protocol).
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUPS, COLUMNS, CHUNK = 4, 1, 3
"""Numbers of fields: of a file, of a row group, of a column chunk (its metadata)."""
SIZE, STATISTICS = 6, 12
"""Numbers of fields of a chunk's metadata."""
NULLS, MAXIMUM, MINIMUM = 3, 5, 6
"""Numbers of fields of its statistics."""
MAGIC = b"PAR1"

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
"""Kinds of values."""
_INTEGERS = re.compile(
    b"(?:[%s][\x80-\xff]*[\x00-\x7f])*"
    % re.escape(bytes(step << 4 | kind for step in range(1, 16) for kind in (_I16, _I32, _I64)))
)
"""Fields of a structure that are integers and follow one another."""


@dataclass(frozen=True, slots=True)
class ChunkFacts:
    """A column in a row group.

    Attributes:
        size: bytes of its pages when they are not compressed.
        nulls: number of its nulls, or None where the footer does not say it.
        minimum: as it is stored, such as UTF-8 of a text; None where the footer does not say it.
        maximum: likewise.
    """

    size: int
    nulls: int | None
    minimum: bytes | None
    maximum: bytes | None


def chunks_of(metadata: pq.FileMetaData, leaves: Collection[int]) -> list[dict[int, ChunkFacts]]:
    """Some column chunks of each row group.

    Args:
        metadata: of a Parquet file.
        leaves: numbers of the leaf columns in the schema; others are passed over.

    Returns:
        for each row group, the facts by the number of the leaf.

    Raises:
        ValueError: when a row group has another number of columns than the schema, or a chunk says nothing of itself.
    """
    sink = pa.BufferOutputStream()
    metadata.write_metadata_file(sink)
    return list(_chunks(sink.getvalue().to_pybytes(), tuple(sorted(leaves)), metadata.num_columns))


@lru_cache(maxsize=4)  # a table's groups and a shard's rows are read one after the other, each with the same footer
def _chunks(data: bytes, leaves: tuple[int, ...], columns: int) -> tuple[dict[int, ChunkFacts], ...]:
    groups: list[dict[int, ChunkFacts]] = []

    def take_columns(at: int) -> int:
        starts, end = _items(data, at, lambda chunk: _after(data, chunk, _STRUCT))
        if len(starts) != columns:
            raise ValueError(f"a row group does not have the {columns} columns of the schema")
        groups.append({leaf: _facts(data, starts[leaf]) for leaf in leaves})
        return end

    def take_groups(at: int) -> int:
        return _items(data, at, lambda group: _fields(data, group, {COLUMNS: take_columns})[1])[1]

    _fields(data, len(MAGIC), {ROW_GROUPS: take_groups})
    return tuple(groups)


def _facts(data: bytes, at: int) -> ChunkFacts:
    chunk, _ = _fields(data, at)
    described = _fields(data, chunk[CHUNK])[0] if CHUNK in chunk else {}
    size = _integer(data, described[SIZE]) if SIZE in described else -1
    if size < 0:
        raise ValueError("a column chunk says nothing of its size")
    said = _fields(data, described[STATISTICS])[0] if STATISTICS in described else {}
    nulls = _integer(data, said[NULLS]) if NULLS in said else None
    minimum, maximum = (_binary(data, said[name]) if name in said else None for name in (MINIMUM, MAXIMUM))
    return ChunkFacts(size, nulls, minimum, maximum)


def _fields(
    data: bytes, at: int, inside: Mapping[int, Callable[[int], int]] = MappingProxyType({})
) -> tuple[dict[int, int], int]:
    """Where the value of each field of a structure begins, by the field's number; and the position after the structure.

    Args:
        data: the footer.
        at: where the structure begins.
        inside: for fields to look into, functions that get the place of the value and return the position after it.
    """
    fields: dict[int, int] = {}
    number = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(data, at), _after_integers(data, at)
        fields[number] = at
        at = inside[number](at) if number in inside else _after(data, at, head & 15)
    return fields, at + 1


def _items(data: bytes, at: int, take: Callable[[int], int]) -> tuple[list[int], int]:
    """Where each structure of a list begins, and the position after the list; `take` is as for `_fields`."""
    count, _, at = _list(data, at)
    starts = []
    for _ in range(count):
        starts.append(at)
        at = take(at)
    return starts, at


def _after(data: bytes, at: int, kind: int) -> int:
    """The position after a value. It takes most of the time, so integers in a row are one step."""
    if kind == _STRUCT:
        while head := data[at := _INTEGERS.match(data, at).end()]:  # type: ignore[union-attr]
            at = at + 1 if head >= 16 else _after_integers(data, at + 1)
            at = _after(data, at, head & 15)
        return at + 1
    if kind == _BINARY:
        length = data[at]
        return at + 1 + length if length < 128 else _after_integers(data, at) + _unsigned(data, at)
    if kind in (_LIST, _SET):
        count, kind, at = _list(data, at)
        if kind in (_TRUE, _FALSE):
            return at + count
        if _I16 <= kind <= _I64:
            return _after_integers(data, at, count)
        for _ in range(count):
            at = _after(data, at, kind)
        return at
    if _I16 <= kind <= _I64:
        return _after_integers(data, at)
    sizes = {_TRUE: 0, _FALSE: 0, _BYTE: 1, _DOUBLE: 8}
    if kind not in sizes:
        raise ValueError(f"a footer with a value of kind {kind}")
    return at + sizes[kind]


def _list(data: bytes, at: int) -> tuple[int, int, int]:
    """Number and kind of a list's values, and where the first begins."""
    count, kind = data[at] >> 4, data[at] & 15
    if count < 15:
        return count, kind, at + 1
    return _unsigned(data, at + 1), kind, _after_integers(data, at + 1)


def _binary(data: bytes, at: int) -> bytes:
    begin = _after_integers(data, at)
    return data[begin : begin + _unsigned(data, at)]


def _integer(data: bytes, at: int) -> int:
    """A signed integer: small ones of either sign are short."""
    value = _unsigned(data, at)
    return value >> 1 ^ -(value & 1)


def _unsigned(data: bytes, at: int) -> int:
    """Seven bits in each byte, the lowest first."""
    value = shift = 0
    while (byte := data[at]) > 127:
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
    return value | byte << shift


def _after_integers(data: bytes, at: int, count: int = 1) -> int:
    for _ in range(count):
        while data[at] > 127:
            at += 1
        at += 1
    return at
