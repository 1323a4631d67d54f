"""Parquet files as folders of their rows: `s3://sets/photos#table&image=image`.

Without a column of keys, a row's key is that of its file, a slash and its number. Its etag is the
file's, so that a file that is written anew is encoded anew. Other objects are passed on.
"""

from dataclasses import replace

import pyarrow as pa

from pipeline.sources.members.container_file import ContainerFile
from pipeline.sources.members.container_store import ContainerStore
from pipeline.sources.members.member_index import Builder, Member, MemberIndex, TooManyMembers
from pipeline.sources.tables import parquet_rows
from pipeline.sources.tables.parquet_columns import MARK, metas
from pipeline.sources.tables.parquet_rows import Columns, RowsFile
from pipeline.sources.tables.table_files import is_table
from pipeline.storage.base import FetchFailed, StorageError, Store
from pipeline.storage.error_text import one_line


class RowStore(ContainerStore):
    """Another store, in which Parquet files are folders of their rows."""

    what, member, whole = "a view of tables", "a row", "its table"
    sizes_are_known = False

    def __init__(self, inner: Store, view: str, globs: tuple[str, ...], columns: Columns) -> None:
        """Nothing is read yet.

        Args:
            inner: the store of the Parquet files.
            view: the part of the address from `#` on.
            globs: which of its objects are opened.
            columns: which of their columns are read.
        """
        super().__init__(inner, view, globs)
        self._columns = columns

    def __reduce__(self) -> tuple[type["RowStore"], tuple[Store, str, tuple[str, ...], Columns]]:
        return RowStore, (self.inner, self._view, self._globs.include, self._columns)

    def child(self, name: str) -> "RowStore":
        """See Store."""
        return RowStore(self.inner.child(name), self._view, self._globs.include, self._columns)

    def check_readable(self) -> None:
        """See Store."""
        super().check_readable()
        if is_table(self.inner):
            raise StorageError(
                f"{self.inner.url} is a Delta or Iceberg table, whose files come and go: name its column of keys, "
                f"as in {self.url}&key=COLUMN"
            )

    def _reading(self) -> str:
        """See ContainerStore."""
        return f"rows {self._columns.image}{' and others' if self._columns.others else ''}"

    def _build(self, file: ContainerFile, add: Builder) -> str | None:
        """See ContainerStore."""
        if file.read(0, 4) != b"PAR1":
            return "it is no Parquet file"
        add.kind = "parquet"
        try:
            etag = f"{file.etag}{MARK}" if self._columns.others else None
            for member in parquet_rows.members(file, self._columns):
                add.add(replace(member, etag=etag))
        except TooManyMembers:
            return "it has too many rows"
        except StorageError as e:
            return e.message
        except (pa.ArrowException, OSError, ValueError) as e:
            return f"it is damaged: {one_line(e)}"
        return None

    def _payloads(
        self, container: str, index: MemberIndex, members: list[Member], max_bytes: int | None
    ) -> list[bytes | FetchFailed] | FetchFailed:
        """See ContainerStore."""
        return parquet_rows.read(
            RowsFile(self.inner, container, index.version), self._columns, _places(members), max_bytes
        )

    def _metas(self, container: str, index: MemberIndex, members: list[Member]) -> list[str | None]:
        """See ContainerStore."""
        if not self._columns.others:
            return [None] * len(members)
        return metas(RowsFile(self.inner, container, index.version), self._columns, _places(members))


def _places(members: list[Member]) -> list[tuple[int, int]]:
    return [(int(group), int(row)) for group, row in (member.place.split() for member in members)]
