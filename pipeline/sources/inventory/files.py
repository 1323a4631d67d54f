"""The rows of an inventory's data files as entries: current versions, keys as they are, below one prefix.

A file is copied to the local disk first, which proves its MD5 before one of its rows counts; of one that
is missing or damaged the rest of the listing would retire rows that are still there.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.sources.external_sort import ENTRIES
from pipeline.sources.inventory.manifest import CSV, DataFile, Manifest
from pipeline.sources.members.container_file import ContainerFile, Unreadable
from pipeline.sources.tables.parquet_rows import MAX_GROUP
from pipeline.storage.base import Outage, StorageError, Store
from pipeline.storage.cache_folder import cache_folder_of
from pipeline.storage.error_text import one_line
from pipeline.storage.listing.temporary_names import PATTERN
from pipeline.storage.local.disk_errors import cannot_write

pc: Any = pyarrow.compute  # its stubs reject most mixes of columns and plain values
csv: Any = pyarrow.csv  # its stubs lack the options of a reader
_CSV_NAMES = {
    "bucket": "Bucket",
    "key": "Key",
    "size": "Size",
    "e_tag": "ETag",
    "is_latest": "IsLatest",
    "is_delete_marker": "IsDeleteMarker",
}
"""The columns that are read: as Parquet files name them, and as CSV's schema does."""
_NEEDED = ("bucket", "key", "size", "e_tag")
_ROWS, _BLOCK = 1 << 16, 8 << 20


def entries_of(place: Store, manifest: Manifest, bucket: str, prefix: str) -> Iterator[pa.Table]:
    """The entries of all files, in their order, as tables of ENTRIES.

    Args:
        place: the folder of the configuration.
        manifest: which files there are.
        bucket: whose objects are listed.
        prefix: only keys that begin with it, without it.

    Raises:
        StorageError: when a file cannot be read to its end, or is not the one that the manifest names.
    """
    for file in manifest.files:
        where = f"{place.url}/{file.key}"
        with tempfile.TemporaryDirectory(dir=cache_folder_of("sorting")) as folder:
            path = Path(folder) / "file"
            _copy(place, file, path, where)
            try:
                batches = _csv(path, manifest.columns, where) if manifest.format == CSV else _parquet(path, where)
                for rows in batches:
                    yield _entries(rows, bucket, prefix, where)
            except (pa.ArrowException, OSError, ValueError) as e:
                raise StorageError(f"{where} is damaged: {one_line(e)}") from None


def _copy(place: Store, wanted: DataFile, path: Path, where: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    try:
        file = ContainerFile(place, wanted.key)
        if file.size != wanted.size:
            raise StorageError(f"{where} has {file.size:,} bytes, and its manifest says {wanted.size:,}")
        with path.open("wb") as out:
            for start in range(0, file.size, _BLOCK):
                data = file.read(start, _BLOCK)
                digest.update(data)
                out.write(data)
    except Unreadable as e:
        kind = Outage if e.failed.transient else StorageError
        raise kind(f"{where} cannot be read: {e.failed.reason}") from None
    except OSError as e:
        remedy = "free space there, or set XDG_CACHE_HOME to a folder on another disk"
        raise cannot_write(f"the cache for sorting, {path.parent.parent},", e, remedy) from e
    if digest.hexdigest() != wanted.md5:
        raise StorageError(f"{where} is damaged: its MD5 is not that of its manifest")


def _csv(path: Path, columns: tuple[str, ...], where: str) -> Iterator[pa.Table]:
    present = {name: theirs for name, theirs in _CSV_NAMES.items() if theirs in columns}
    _check_columns(present, where)
    packed = pa.CompressedInputStream(pa.OSFile(str(path), "rb"), "gzip")
    reading = csv.ReadOptions(column_names=list(columns), block_size=_BLOCK, use_threads=False)
    choice = csv.ConvertOptions(
        include_columns=list(present.values()), column_types=dict.fromkeys(present.values(), pa.string())
    )
    parsing = csv.ParseOptions(newlines_in_values=True)
    for batch in csv.open_csv(packed, reading, parsing, choice):
        table = pa.Table.from_batches([batch]).rename_columns(list(present))
        table = table.set_column(table.column_names.index("key"), "key", _decoded(table["key"]))
        sizes = pc.if_else(pc.equal(table["size"], ""), pa.scalar(None, pa.string()), table["size"])
        yield table.set_column(table.column_names.index("size"), "size", sizes)


def _decoded(keys: Any) -> Any:
    """Keys without percent codes; a plus stands for a space there."""
    coded = pc.match_substring_regex(keys, "[%+]")
    if not pc.any(coded).as_py():
        return keys
    plain = pa.array([unquote_plus(key, errors="strict") for key in keys.filter(coded).to_pylist()], pa.string())
    return pa.chunked_array([pc.replace_with_mask(keys.combine_chunks(), coded.combine_chunks(), plain)])


def _parquet(path: Path, where: str) -> Iterator[pa.Table]:
    file = pq.ParquetFile(path)
    names = [name for name in _CSV_NAMES if name in file.schema_arrow.names]
    _check_columns(names, where)
    for group in range(file.metadata.num_row_groups):
        if file.metadata.row_group(group).total_byte_size > MAX_GROUP:
            raise StorageError(f"{where} has a row group of more than 4 GiB")
    for batch in file.iter_batches(_ROWS, columns=names):
        batch.validate(full=True)  # text that is no UTF-8
        yield pa.Table.from_batches([batch])


def _check_columns(present: Any, where: str) -> None:
    lacking = [_CSV_NAMES[name] for name in _NEEDED if name not in present]
    if lacking:
        raise StorageError(
            f"{where} has no {' and no '.join(lacking)}: the inventory's configuration must choose Size and ETag"
        )


def _entries(rows: pa.Table, bucket: str, prefix: str, where: str) -> pa.Table:
    """The entries of rows that are current objects below the prefix."""
    if not pc.all(pc.equal(rows["bucket"], bucket), min_count=0).as_py():
        raise StorageError(f"{where} lists objects of another bucket than {bucket!r}")
    if "is_latest" in rows.column_names:
        rows = rows.filter(_is(rows["is_latest"], "true"))
    if "is_delete_marker" in rows.column_names:
        rows = rows.filter(pc.invert(_is(rows["is_delete_marker"], "true")))
    rows = rows.filter(pc.starts_with(rows["key"], prefix))
    sizes = rows["size"].cast(pa.int64())
    marker = pc.and_(pc.ends_with(rows["key"], "/"), pc.equal(sizes, 0))  # of an empty folder, as consoles make them
    temporary = pc.match_substring_regex(rows["key"], f"(?s)^{PATTERN}$")  # listings leave these out, too
    if sizes.null_count or pc.any(pc.less(sizes, 0)).as_py():
        raise StorageError(f"{where} lists an object without a size")
    keys = pc.utf8_slice_codeunits(rows["key"], len(prefix))
    etags = pc.utf8_trim(pc.fill_null(rows["e_tag"].cast(pa.string()), ""), '"')
    return pa.table([keys, sizes, etags], schema=ENTRIES).filter(pc.invert(pc.or_(marker, temporary)))


def _is(flags: Any, word: str) -> Any:
    """A mask of a column of booleans, or of texts as CSV has them; what is missing is not so."""
    return pc.fill_null(pc.equal(pc.utf8_lower(flags.cast(pa.string())), word), False)
