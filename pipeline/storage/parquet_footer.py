"""What the footer of a Parquet file says of its column chunks, without `RowGroupMetaData.column` of pyarrow.

That method ends the process where a chunk contradicts the schema, as after a single flipped bit: pyarrow declares it as
one that throws no C++ exceptions. So the footer, which pyarrow has parsed and writes again, is read here: it is a
structure of Apache Thrift in its compact protocol (parquet-format, `parquet.thrift` and thrift-compact-protocol).
"""

import struct
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUPS, COLUMNS, CHUNK = 4, 1, 3
"""Numbers of fields: of a file, of a row group, of a column chunk (its metadata)."""
SIZE, STATISTICS = 6, 12
"""Numbers of fields of a chunk's metadata."""
NULLS, MAXIMUM, MINIMUM = 3, 5, 6
"""Numbers of fields of its statistics."""
MAGIC = b"PAR1"

Fields = dict[int, Any]
"""A structure: values by the numbers of its fields; binary ones as bytes, structures as `Fields`."""


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


def chunks_of(metadata: pq.FileMetaData) -> list[list[ChunkFacts]]:
    """The column chunks of each row group, in the order of the schema's leaves.

    Raises:
        ValueError: when a row group has another number of columns than the schema, or a chunk says nothing of itself.
    """
    sink = pa.BufferOutputStream()
    metadata.write_metadata_file(sink)
    fields, _ = _structure(sink.getvalue().to_pybytes(), len(MAGIC))
    groups = [[_facts(chunk.get(CHUNK)) for chunk in group[COLUMNS]] for group in fields[ROW_GROUPS]]
    if any(len(group) != metadata.num_columns for group in groups):
        raise ValueError(f"a row group does not have the {metadata.num_columns} columns of the schema")
    return groups


def _facts(chunk: Fields | None) -> ChunkFacts:
    if chunk is None or chunk.get(SIZE, -1) < 0:
        raise ValueError("a column chunk says nothing of its size")
    said = chunk.get(STATISTICS, {})
    return ChunkFacts(chunk[SIZE], said.get(NULLS), said.get(MINIMUM), said.get(MAXIMUM))


def _structure(data: bytes, at: int) -> tuple[Fields, int]:
    """A structure, and the position after it."""
    fields: Fields = {}
    number = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(data, at)
        kind = head & 15
        fields[number], at = (kind == 1, at) if kind in (1, 2) else _value(data, at, kind)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    """A value of a kind that Parquet uses, and the position after it."""
    if kind in (4, 5, 6):
        return _integer(data, at)
    if kind == 8:
        length, at = _unsigned(data, at)
        return data[at : at + length], at + length
    if kind == 9:
        return _list(data, at)
    if kind == 12:
        return _structure(data, at)
    if kind in (1, 2, 3):
        return data[at], at + 1
    if kind == 7:
        return struct.unpack_from("<d", data, at)[0], at + 8
    raise ValueError(f"a footer with a value of kind {kind}")


def _list(data: bytes, at: int) -> tuple[list[Any], int]:
    head, at = data[at], at + 1
    count = head >> 4
    if count == 15:
        count, at = _unsigned(data, at)
    values = []
    for _ in range(count):
        value, at = _value(data, at, head & 15)
        values.append(value)
    return values, at


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """A signed integer: small ones of either sign are short."""
    value, at = _unsigned(data, at)
    return value >> 1 ^ -(value & 1), at


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    """Seven bits in each byte, the lowest first."""
    value = shift = 0
    while (byte := data[at]) > 127:
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
    return value | byte << shift, at + 1
