"""The texts of a list of addresses: a column of Parquet or CSV files, as img2dataset's users have them."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.sources.members.container_file import ContainerFile, FileReader, Unreadable
from pipeline.sources.tables.parquet_rows import MAX_GROUP, opened
from pipeline.storage.base import Entry, Outage, StorageError, Store
from pipeline.storage.error_text import one_line
from pipeline.storage.listing.key_globs import KeyGlobs
from pipeline.storage.parquet_footer import chunks_of

csv: Any = pyarrow.csv  # its stubs lack the options of a reader
ENDINGS = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
"""Of the names of files that are lists."""
GLOBS = tuple(f"*{ending}" for ending in ENDINGS)
NAMES = ("url", "image_url", "img_url", "image_link", "imageurl", "uri")
"""Names of the column of addresses, in any case, where the user names none."""
_ROWS, _BLOCK = 1 << 16, 8 << 20


def files_of(store: Store, globs: KeyGlobs) -> list[Entry]:
    """The files of a list, sorted by key.

    Raises:
        StorageError: when there is none.
    """
    files = [entry for entry in store.entries() if globs.chooses(entry.key)]
    if not files:
        raise StorageError(f"{store.url} has no list of addresses ({', '.join(globs.include)})")
    return files


def column_of(names: list[str], wanted: str, where: str) -> str:
    """The column of addresses.

    Args:
        names: of all columns.
        wanted: its name; empty for one of NAMES.
        where: the file, for the message.

    Raises:
        StorageError: when there is none, or more than one could be it.
    """
    found = [name for name in names if name == wanted] if wanted else [n for n in names if n.lower() in NAMES]
    if len(found) == 1:
        return found[0]
    have = ", ".join(names[:20])[:300]
    if wanted:
        raise StorageError(f"{where} has {'no' if not found else 'more than one'} column {wanted!r} (it has: {have})")
    which = f"{len(found)} columns that may hold addresses" if found else "no column with a usual name for addresses"
    raise StorageError(f"{where} has {which} (it has: {have}): name it with #urls&url=COLUMN")


def check_list(store: Store, file: Entry, column: str) -> None:
    """Read the head of a file and look for the column.

    Raises:
        StorageError: when the file cannot be read or has no such column.
    """
    next(texts_of(store, file, column), None)


def texts_of(store: Store, file: Entry, column: str) -> Iterator[list[str | None]]:
    """The texts of a file's column, some ten thousand at a time; None for a row without any.

    Raises:
        StorageError: when it cannot be read to its end.
    """
    where = f"{store.url}/{file.key}"
    try:
        read = _parquet if file.key.endswith(".parquet") else _csv
        yield from read(ContainerFile(store, file.key, file.etag), file.key, column, where)
    except Unreadable as e:
        kind = Outage if e.failed.transient else StorageError
        raise kind(f"{where} cannot be read: {e.failed.reason}") from None
    except (pa.ArrowException, OSError, ValueError, EOFError) as e:
        raise StorageError(f"{where} is damaged: {one_line(e)}") from None


def _parquet(file: ContainerFile, key: str, column: str, where: str) -> Iterator[list[str | None]]:
    del key
    parquet: pq.ParquetFile = opened(file)
    name = column_of(parquet.schema_arrow.names, column, where)
    kind = parquet.schema_arrow.field(name).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise StorageError(f"{where}: its column {name!r} holds {kind}, not text")
    described = parquet.metadata
    leaf = next(i for i in range(described.num_columns) if described.schema.column(i).path == name)
    if any(chunks[leaf].size > MAX_GROUP for chunks in chunks_of(described, [leaf])):
        raise StorageError(f"{where}: a row group has more than 4 GiB of addresses: write smaller ones")
    for batch in parquet.iter_batches(_ROWS, columns=[name]):
        yield batch.column(0).to_pylist()


def _csv(file: ContainerFile, key: str, column: str, where: str) -> Iterator[list[str | None]]:
    def stream() -> Any:
        plain = pa.PythonFile(FileReader(file), mode="r")
        return pa.CompressedInputStream(plain, "gzip") if key.endswith(".gz") else plain

    reading = csv.ReadOptions(block_size=_BLOCK, use_threads=False)
    parsing = csv.ParseOptions(delimiter="\t" if ".tsv" in key[-7:] else ",", newlines_in_values=True)
    head = csv.open_csv(stream(), reading, parsing).schema.names
    name = column_of(head, column, where)
    choice = csv.ConvertOptions(include_columns=[name], column_types={name: pa.string()})
    for batch in csv.open_csv(stream(), reading, parsing, choice):
        yield batch.column(0).to_pylist()
