"""Tables with a column of keys as sources: Parquet files of a folder, a Delta table, an Iceberg table.

The rows of all files of the table's present version come in one order of keys: an index of keys and
places is made once per version, from the columns of keys alone. Rows of files outside the table's
own folder are refused: a table says where its files are, and may say anything.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from pipeline.sources.members.container_file import ContainerFile, Unreadable
from pipeline.sources.members.member_index import Builder, Member, MemberIndex, TooManyMembers, index_of
from pipeline.sources.read_only import ReadOnlyStore
from pipeline.sources.tables import parquet_rows
from pipeline.sources.tables.parquet_columns import MARK, metas
from pipeline.sources.tables.parquet_rows import Columns, RowsFile
from pipeline.sources.tables.table_files import files_of
from pipeline.storage.base import CHANGED, Entry, Fetched, FetchFailed, NotListed, Outage, StorageError, Store
from pipeline.storage.error_text import one_line
from pipeline.storage.listing.key_globs import KeyGlobs


class TableStore(ReadOnlyStore):
    """The rows of a table as objects; the etag of a row is that of its file."""

    what, member, whole = "a view of a table", "a row", "its table"
    sizes_are_known = False

    def __init__(self, inner: Store, view: str, globs: tuple[str, ...], columns: Columns) -> None:
        """Nothing is read yet.

        Args:
            inner: the store of the table's folder.
            view: the part of the address from `#` on.
            globs: which Parquet files of a plain folder are the table.
            columns: which columns are read; `key` is one of them.
        """
        super().__init__(inner, view)
        self._globs, self._columns = KeyGlobs(globs), columns
        self._index: MemberIndex | None = None
        self._files: list[Entry] = []

    def __reduce__(self) -> tuple[type["TableStore"], tuple[Store, str, tuple[str, ...], Columns]]:
        return TableStore, (self.inner, self._view, self._globs.include, self._columns)

    def child(self, name: str) -> "TableStore":
        """See Store: rows have no folders."""
        raise StorageError(f"{self.url}: a table has no folder {name!r}")

    def check_readable(self) -> None:
        """See Store; the columns are looked for in the first file, as a mistyped one concerns all."""
        self.inner.check_readable()
        files = files_of(self.inner, self._globs)
        if not files:
            return
        try:
            schema = parquet_rows.opened(ContainerFile(self.inner, files[0].key)).schema_arrow
            parquet_rows.image_column(schema, self._columns)
        except Unreadable as e:
            raise Outage(f"{self.inner.url}/{files[0].key} cannot be read: {e.failed.reason}") from None
        except StorageError as e:
            raise StorageError(f"{self.inner.url}/{files[0].key}: {e.message}") from None
        except (pa.ArrowException, OSError, ValueError) as e:
            raise StorageError(f"{self.inner.url}/{files[0].key} is damaged: {one_line(e)}") from None

    def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
        """See Store. A file that cannot be read ends the listing: its keys are not known."""
        del unlisted
        index = self._current()
        for member in index.members():
            file = self._files[int(member.place.split()[0])] if member.place else None
            yield Entry(member.key, member.size, self._etag(file) if file else index.version)

    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        """See Store. Where the table changes meanwhile, the rows of the new version."""
        failed: FetchFailed | None = None
        for _ in range(2):
            try:
                index = self._index or self._current()
                return self._fetch(index, keys, max_bytes)
            except Unreadable as e:
                failed, self._index = e.failed, None
        assert failed is not None
        return [replace(failed, key=key) for key in keys]

    def _fetch(self, index: MemberIndex, keys: Sequence[str], max_bytes: int | None) -> list[Fetched | FetchFailed]:
        results: dict[str, Fetched | FetchFailed] = {}
        by_file: dict[int, list[tuple[str, tuple[int, int]]]] = {}
        for key, member in zip(keys, index.find(keys), strict=True):
            if member is None:
                results[key] = FetchFailed(key, "the table has no such row")
            elif member.problem is not None:
                results[key] = FetchFailed(key, member.problem)
            else:
                file, group, row = map(int, member.place.split())
                by_file.setdefault(file, []).append((key, (group, row)))
        for number, rows in by_file.items():
            file_entry = self._files[number]
            of = RowsFile(self.inner, file_entry.key, file_entry.etag)
            found = parquet_rows.read(of, self._columns, [place for _, place in rows], max_bytes)
            if isinstance(found, FetchFailed):
                raise Unreadable(found)
            places = [place for _, place in rows]
            texts = metas(of, self._columns, places) if self._columns.others else [None] * len(rows)
            for (key, _), data, meta in zip(rows, found, texts, strict=True):
                if isinstance(data, FetchFailed):
                    results[key] = replace(data, key=key)
                else:
                    results[key] = Fetched(key, data, self._etag(file_entry), meta=meta)
        return [results[key] for key in keys]

    def _etag(self, file: Entry) -> str:
        """The etag of a row of a file."""
        return f"{file.etag}{MARK}" if self._columns.others else file.etag

    def _current(self) -> MemberIndex:
        """The index of the present version.

        Raises:
            StorageError: when a file cannot be read.
        """
        files = files_of(self.inner, self._globs)
        version = hashlib.sha256("\0".join(f"{file.key}\0{file.etag}" for file in files).encode()).hexdigest()[:32]
        name = (self.inner.absolute_url, f"table {self._columns.image} {self._columns.key}", version)
        self._index, self._files = index_of(name, lambda add: self._build(files, add)), files
        return self._index

    def _build(self, files: list[Entry], add: Builder) -> None:
        add.kind = "table"
        for number, file in enumerate(files):
            where = f"{self.inner.url}/{file.key}"
            try:
                for member in parquet_rows.members(
                    ContainerFile(self.inner, file.key, file.etag), self._columns, f"{number} "
                ):
                    add.add(_named(member, file.key))
            except Unreadable as e:
                kind = Outage if e.failed.transient else StorageError
                again = ": run again" if e.failed.reason == CHANGED else ""
                raise kind(f"{where} cannot be read: {e.failed.reason}{again}") from None
            except TooManyMembers:
                raise StorageError(f"{self.inner.url} has too many rows for one source") from None
            except StorageError as e:
                raise StorageError(f"{where}: {e.message}") from None
            except (pa.ArrowException, OSError, ValueError) as e:
                raise StorageError(f"{where} is damaged: {one_line(e)}") from None


def _named(member: Member, file: str) -> Member:
    """A row without a key is named by its file."""
    if member.problem is None or member.place:
        return member
    return replace(member, key=f"{file}/{member.key}")
