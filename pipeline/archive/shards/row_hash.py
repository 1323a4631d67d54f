"""The row hash: one SHA-256 over all values of a row, by which a change of any of them is noticed.

It is computed where a row is made, and copied with the row by everything that rewrites shards
(encode, compact, restore), so it also notices what a program between the two does to a row. It is
a checksum and no signature: who changes a row on purpose can compute a new one.

The hash covers, for each column of the table in the order of the names, leaving out the hash itself
and nulls:

    name in UTF-8, a zero byte, length of the value in bytes as 8 bytes (little-endian), the value

A text is its UTF-8 bytes, an integer its decimal digits, a float its 8 bytes (IEEE 754,
little-endian), a time the decimal digits of its microseconds since 1970. As nulls are left out, a
column that is added later and is null in older rows does not change their hashes. A payload that rows
share is hashed in its place: such a row has an empty `payload` only where it is stored, and `same_as`
only there (`pipeline.archive.shards.shared_payloads`).
"""

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from model.core.boundary import Fault, attempt
from pipeline.archive.schema import IMAGES, ROW_SHA256


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema = IMAGES) -> pa.Table:
    """Rows given as values by column, as a table with their hashes in the column `row_sha256`.

    Args:
        rows: missing columns are null.
        schema: IMAGES or REJECTIONS.

    Raises:
        pa.ArrowException: for a value that its column cannot hold.
    """
    return with_row_hashes(pa.Table.from_pylist([dict(row) for row in rows], schema))


def with_row_hashes(rows: pa.Table) -> pa.Table:
    """The rows with the column `row_sha256` computed anew."""
    at = rows.schema.get_field_index(ROW_SHA256)
    return rows.set_column(at, rows.schema.field(at), pa.array(row_hashes(rows), pa.string()))


def row_hashes(rows: "pa.Table | pa.RecordBatch") -> list[str]:
    """The hash that each row ought to have, as 64 hex digits.

    Raises:
        UnicodeDecodeError: and other errors of conversion, for values that damage has made
            impossible.
    """
    digests = [hashlib.sha256() for _ in range(rows.num_rows)]
    for name in sorted(set(rows.schema.names) - {ROW_SHA256}):
        column = rows.column(name)
        to_bytes = _converter(column.type)
        prefix = name.encode() + b"\0"
        values: list[Any] = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for digest, value in zip(digests, values, strict=True):
            if value is not None:
                data = to_bytes(value)
                digest.update(prefix + struct.pack("<Q", len(data)))
                digest.update(data)
    return [digest.hexdigest() for digest in digests]


def changed_rows(rows: "pa.Table | pa.RecordBatch") -> list[bool]:
    """For each row, with all columns of its table, whether its hash is not the one that was written."""
    hashes = attempt(lambda: row_hashes(rows))
    if not isinstance(hashes, Fault):
        return [value != found for value, found in zip(rows.column(ROW_SHA256).to_pylist(), hashes, strict=True)]
    if rows.num_rows == 1:
        return [True]
    return [flag for i in range(rows.num_rows) for flag in changed_rows(rows.slice(i, 1))]


def _converter(kind: pa.DataType) -> Callable[[Any], bytes]:
    """How values of a type become bytes."""
    if pa.types.is_binary(kind):
        return bytes
    if pa.types.is_string(kind):
        return str.encode
    if pa.types.is_floating(kind):
        return struct.Struct("<d").pack
    if pa.types.is_integer(kind) or pa.types.is_timestamp(kind):
        return lambda value: str(value).encode()
    raise TypeError(f"no row hash is defined for columns of type {kind}")
