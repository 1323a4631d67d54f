"""Images in the rows of a Parquet file: a column of bytes, or of structs {bytes, path} as in Hugging Face's data sets.

Listing reads the file's footer and, where they exist, the columns of keys and of paths, but no image:
sizes are those of the row group, divided by its rows. A fetch reads the column of one row group, which
stays in memory for the next fetch, as neighbouring rows are asked for together.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources.members.container_file import ContainerFile, FileReader, Unreadable
from pipeline.sources.members.member_index import Member
from pipeline.storage.base import FetchFailed, StorageError, Store, too_large
from pipeline.storage.error_text import one_line
from pipeline.storage.local_names import key_of
from pipeline.storage.parquet_footer import chunks_of

MAX_GROUP = 4 << 30
"""Largest column of a row group that is read, in bytes."""
_KEEP_GROUP = 1 << 30
"""Largest one that stays in memory."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table that are read.

    Attributes:
        image: name of the column of images; empty: the only one that can be it.
        key: name of the column of keys; empty where rows are numbered.
        others: whether the others are read as well (`pipeline.sources.tables.parquet_columns`).
    """

    image: str = ""
    key: str = ""
    others: bool = False


def opened(file: ContainerFile) -> pq.ParquetFile:
    """A Parquet file.

    Raises:
        pyarrow.ArrowException: when it is none.
    """
    return pq.ParquetFile(pa.PythonFile(FileReader(file), mode="r"))


def image_column(schema: pa.Schema, columns: Columns) -> tuple[str, str | None]:
    """The leaf columns of the images' bytes and of their paths, the second None where there is none.

    Raises:
        StorageError: when there is no such column, or several, or it holds no bytes.
    """
    found = [field for field in schema if _holds_bytes(field.type)]
    if not columns.image and len(found) != 1:
        names = ", ".join(field.name for field in found) or "none"
        raise StorageError(f"its columns that may hold images: {names}; name one with image=COLUMN")
    name = columns.image or found[0].name
    if name not in schema.names:
        raise StorageError(f"it has no column {name!r} (it has: {', '.join(schema.names[:20])})")
    kind = schema.field(name).type
    if not _holds_bytes(kind):
        raise StorageError(f"its column {name!r} holds {kind}, not bytes or structs of bytes and path")
    if columns.key and columns.key not in schema.names:
        raise StorageError(f"it has no column {columns.key!r} (it has: {', '.join(schema.names[:20])})")
    if columns.key and not _may_be_keys(held := schema.field(columns.key).type):
        raise StorageError(f"its column {columns.key!r} holds {held}, which is no key: name one of texts or numbers")
    if not pa.types.is_struct(kind):
        return name, None
    path = f"{name}.path" if kind.get_field_index("path") >= 0 else None
    return f"{name}.bytes", path


def _may_be_keys(kind: pa.DataType) -> bool:
    """Whether values have one plain text: not lists, and not times, whose texts depend on who writes them."""
    return not (pa.types.is_nested(kind) or pa.types.is_temporal(kind))


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _holds_bytes(kind.field(at).type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def members(file: ContainerFile, columns: Columns, prefix: str = "") -> Iterator[Member]:
    """The rows of a Parquet file as members, with the places "GROUP ROW", rows counted within the group.

    Args:
        file: the file.
        columns: which columns to read.
        prefix: of the places, such as the number of the file in a table.

    Raises:
        StorageError: see `image_column`.
        pyarrow.ArrowException: when the file is damaged.
        ValueError: likewise, see `pipeline.storage.parquet_footer`.
    """
    parquet = opened(file)
    leaf, path = image_column(parquet.schema_arrow, columns)
    described = parquet.metadata
    number = 0
    leaves = {described.schema.column(i).path: i for i in range(described.num_columns)}
    for group, chunks in enumerate(chunks_of(described, [leaves[leaf]])):
        facts, whole = described.row_group(group), chunks[leaves[leaf]].size
        size = max(1, whole // max(1, facts.num_rows))
        problem = None if whole <= MAX_GROUP else "its row group is larger than 4 GiB"
        wanted = [columns.key] if columns.key else [path] if path else []
        texts: list[Any] = [None] * facts.num_rows
        if wanted:
            table = parquet.read_row_group(group, columns=wanted)
            texts = table.column(0).to_pylist()
            texts = texts if columns.key else [struct and struct["path"] for struct in texts]
        for row, text in enumerate(texts):
            place = f"{prefix}{group} {row}"
            if columns.key and text is None:
                yield Member(f"{number:09d}", size, problem="the row has no key")
            else:
                key = _key(text) if columns.key else f"{number:09d}{_suffix(text)}"
                yield Member(key, size, place, problem)
            number += 1


def _key(value: Any) -> str:
    """A value of the column of keys; bytes are text, as writers leave out that they are."""
    return key_of(value.decode("utf-8", "surrogateescape")) if isinstance(value, bytes) else str(value)


def _suffix(path: Any) -> str:
    suffix = PurePosixPath(path).suffix.lower() if isinstance(path, str) else ""
    return suffix if suffix[1:].isalnum() and len(suffix) <= 6 else ""


@dataclass(frozen=True, slots=True)
class RowsFile:
    """One version of a Parquet file whose rows are fetched."""

    store: Store
    key: str
    etag: str


class _GroupCache:
    """The images of the row group that this process read last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[Any, list[Any]] | None = None

    def column(self, of: RowsFile, columns: Columns, group: int) -> list[Any]:
        """The column of images of a row group, as chunks."""
        name = (of.store.absolute_url, of.key, of.etag, columns, group)
        with self._lock:
            if self._last is not None and self._last[0] == name:
                return self._last[1]
            self._last = None
            parquet = opened(ContainerFile(of.store, of.key, of.etag))
            leaf, _ = image_column(parquet.schema_arrow, columns)
            column = parquet.read_row_group(group, columns=[leaf]).column(0)
            chunks: list[Any] = column.chunks
            if pa.types.is_struct(column.type):
                chunks = [chunk.flatten()[0] for chunk in chunks]  # unlike `field`, null where the struct is
            if sum(chunk.nbytes for chunk in chunks) <= _KEEP_GROUP:
                self._last = name, chunks
            return chunks


_CACHE = _GroupCache()


def read(
    of: RowsFile, columns: Columns, places: list[tuple[int, int]], max_bytes: int | None
) -> list[bytes | FetchFailed] | FetchFailed:
    """The images of rows.

    Args:
        of: the file.
        columns: which columns to read.
        places: row group and row of each, as in the members.
        max_bytes: larger images are not taken.
    """
    results: dict[tuple[int, int], bytes | FetchFailed] = {}
    for group, rows in groupby(sorted(set(places)), key=lambda place: place[0]):
        try:
            chunks = _CACHE.column(of, columns, group)
        except Unreadable as e:
            return e.failed
        except (pa.ArrowException, OSError, ValueError) as e:
            failed = FetchFailed(of.key, f"its row group is damaged: {one_line(e)}")
            results |= dict.fromkeys(rows, failed)
            continue
        for place in rows:
            results[place] = _one(of.key, chunks, place[1], max_bytes)
    return [results[place] for place in places]


def _one(key: str, chunks: list[Any], row: int, max_bytes: int | None) -> bytes | FetchFailed:
    for chunk in chunks:
        if row < len(chunk):
            data = chunk[row].as_py()
            if data is None:
                return FetchFailed(key, "the row has no bytes")
            large = too_large(len(data), max_bytes)
            return FetchFailed(key, large) if large else bytes(data)
        row -= len(chunk)
    return FetchFailed(key, "the row group has no such row")
