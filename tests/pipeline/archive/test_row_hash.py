"""The row hash is what its module says, covers every column, and survives new columns."""

import hashlib
import struct
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from pipeline.archive.schema import IMAGES, REJECTIONS, ROW_SHA256
from pipeline.archive.shards.row_hash import row_hashes, table_of, with_row_hashes
from tests.pipeline.making import original


def by_hand(row: dict[str, Any]) -> str:
    """The hash, written from the module's description alone."""
    data = b""
    for name in sorted(row):
        value = row[name]
        if value is None or name == "row_sha256":
            continue
        if isinstance(value, datetime):
            value = round((value - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)
        if isinstance(value, str):
            value = value.encode()
        elif isinstance(value, int):
            value = str(value).encode()
        elif isinstance(value, float):
            value = struct.pack("<d", value)
        data += name.encode() + b"\0" + len(value).to_bytes(8, "little") + value
    return hashlib.sha256(data).hexdigest()


FULL = original("é/1.png", b"payload", psnr=38.25, quality=40.0, icc=b"", exif=b"Exif", model="0" * 16)


def test_the_hash_is_that_of_the_description() -> None:
    table = table_of([FULL, original("b")])
    for row in table.to_pylist():
        assert row[ROW_SHA256] == by_hand(row)
    rejection = {name: "text" for name in REJECTIONS.names} | {"rejected_at": datetime.now(UTC)}
    (row,) = table_of([rejection], REJECTIONS).to_pylist()
    assert row[ROW_SHA256] == by_hand(row) != "text"


def test_nothing_and_empty_bytes_differ_and_values_do_not_run_into_each_other() -> None:
    rows = [
        FULL,
        FULL | {"icc": None},
        FULL | {"icc": b"Exif", "exif": b""},
        FULL | {"etag": FULL["etag"] + "x", "model": "0" * 15},
    ]
    assert len(set(row_hashes(table_of(rows)))) == len(rows)


def test_a_column_that_is_added_later_leaves_the_hashes_of_older_rows() -> None:
    table = table_of([FULL])
    assert row_hashes(table.append_column("later", pa.nulls(1, pa.binary()))) == row_hashes(table)
    assert row_hashes(table.append_column("later", pa.array([b"x"]))) != row_hashes(table)
    shuffled = table.select(sorted(table.column_names, reverse=True))
    assert row_hashes(shuffled) == row_hashes(table)


def test_a_type_for_which_no_hash_is_defined_is_refused() -> None:
    with pytest.raises(TypeError, match="no row hash is defined"):
        row_hashes(table_of([FULL]).append_column("later", pa.array([[1, 2]])))


def test_hashes_are_computed_anew_whatever_is_there() -> None:
    table = table_of([FULL])
    at = IMAGES.get_field_index(ROW_SHA256)
    wrong = table.set_column(at, IMAGES.field(at), pa.array(["0" * 64]))
    assert with_row_hashes(wrong).equals(table) and not wrong.equals(table)
