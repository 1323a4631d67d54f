"""The ledger of releases, a third Delta table: which originals were deleted because the archive holds their images.

    ARCHIVE/releases/    key, sequence, state, etag, source_bytes, source_sha256, facts, recorded_at, run, row_sha256

Entries are added and never changed. A deletion has two: the intent, which is committed before the request, and the
outcome. An image counts as released from its intent on, as a run that was killed between the two may have deleted the
original. Of several entries of a key the one with the greatest sequence counts.

The ledger stands beside the images and not in them, so that it outlives whatever happens to their table: a row that is
encoded again, an older version that becomes the current one, a shard that another tool rewrites.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute
from deltalake import DeltaTable, Transaction
from deltalake.exceptions import TableNotFoundError

from pipeline.archive.log.commit_seal import FilesDigest
from pipeline.archive.log.commits import transact
from pipeline.archive.log.delta_table import added, create_table, files_of, open_table
from pipeline.archive.log.optimistic_commit import commit_with_retry, is_committed
from pipeline.archive.log.table_format import check_columns
from pipeline.archive.schema import FAILED, INTENDED, LOG, RELEASED, RELEASES
from pipeline.archive.shards.merge_reader import merged_tables
from pipeline.archive.shards.row_hash import table_of
from pipeline.archive.shards.shard_writer import Shard, write_sorted
from pipeline.archive.shards.sorted_tables import in_order, texts
from pipeline.storage.base import StorageError, Store

pc: Any = pyarrow.compute  # its stubs refuse most mixes of columns and plain values

FOLDER = "releases"
_ATTEMPTS = 20
_COUNTING = (INTENDED, RELEASED)
"""States of a key whose original is deleted, or may be."""


@dataclass(frozen=True, slots=True)
class ReleaseEntry:
    """One entry of the ledger; for its fields see `RELEASES`."""

    key: str
    state: str
    etag: str
    source_bytes: int
    source_sha256: str
    facts: str


class Releases:
    """The ledger of one archive."""

    def __init__(self, root: Store) -> None:
        """Nothing is contacted yet.

        Args:
            root: of the archive.
        """
        self.store = root.child(FOLDER)

    def table(self) -> DeltaTable | None:
        """The ledger's table; None for an archive that never had a release.

        Raises:
            StorageError: when it cannot be read, or its log is missing: an archive that forgot its
                releases would retire the only copies of images.
        """
        try:
            table = open_table(self.store)
        except TableNotFoundError:
            if not self._has_files():
                return None
            table = self._of_files()
        check_columns(table, RELEASES, self.store.url)
        return table

    def _has_files(self) -> bool:
        """Whether a table was created here; the files of a log that is being written do not count yet."""
        names = (entry.key for entry in self.store.entries()) if self.store.root_exists() else iter(())
        return any(not name.startswith(LOG) or name.removeprefix(LOG)[:1].isdigit() for name in names)

    def _of_files(self) -> DeltaTable:
        """The table of files that are there: a log comes before them, so it is there by now, or it is lost."""
        try:
            return open_table(self.store)
        except TableNotFoundError:
            raise StorageError(
                f"the ledger of releases {self.store.url} has lost its log: restore its folder _delta_log"
            ) from None

    def record(self, entries: Sequence[ReleaseEntry], run: str, number: int) -> None:
        """Add entries in one commit; they are durable when this returns.

        Args:
            entries: at least one; a key at most once.
            run: name of the run.
            number: of this commit within the run: 1, 2, 3 and so on. A number that the table has is a replay.

        Raises:
            StorageError: when the store fails after retries.
        """
        create_table(self.store, RELEASES)
        mark = Transaction(run, number)

        def attempt(table: DeltaTable) -> None:
            if is_committed(table, mark):
                return
            rows = in_order(_rows(entries, run, table.version() + 1), ["key"])
            shard = write_sorted(self.store, iter([rows]), RELEASES, 0)
            assert shard is not None
            before = FilesDigest(files_of(table))
            transact(self.store, table, RELEASES, [shard], [], mark, {"run": run, "job": "release"}, before)

        commit_with_retry(
            lambda: open_table(self.store),
            attempt,
            attempts=_ATTEMPTS,
            busy=StorageError(f"{self.store.url} is so busy that no commit got through: run this job again"),
            failed=f"the commit to {self.store.url} failed",
        )

    def released(self) -> Iterator[pa.Table]:
        """The keys of released images in byte order, streamed as tables with the column `key`.

        Raises:
            StorageError: when the ledger cannot be read.
        """
        for table in self.latest():
            keys = table.filter(pc.is_in(table["state"], value_set=pa.array(_COUNTING))).select(["key"])
            if keys.num_rows:
                yield keys.combine_chunks()

    def latest(self, columns: Sequence[str] = ()) -> Iterator[pa.Table]:
        """The latest entry of each key that says something about its original, in byte order of the keys, streamed.

        Args:
            columns: to read, beside key, sequence and state.
        """
        table = self.table()
        if table is None:
            return
        files = list(_deciding(table))
        for part in merged_tables(self.store, files, ("key", "sequence", "state", *columns), sort_columns=2):
            decides = part.filter(pc.greater(part["state"], FAILED))
            if decides.num_rows:
                keys = decides["key"].combine_chunks()
                last = pa.concat_arrays([pc.not_equal(keys[1:], keys[:-1]), pa.array([True])])
                yield decides.filter(last)

    def released_keys(self) -> frozenset[str]:
        """All released keys, in memory."""
        return frozenset(key for table in self.released() for key in texts(table["key"]))

    def files(self) -> list[Shard]:
        """The ledger's files; empty for an archive that never had a release."""
        table = self.table()
        return [] if table is None else files_of(table)


def _deciding(table: DeltaTable) -> Iterator[Shard]:
    """The files with entries about originals; reports of checks alone are left out by their statistics."""
    if not (files := files_of(table)):
        return
    actions = added(table)
    greatest = actions["max.state"].to_pylist() if "max.state" in actions.column_names else [None] * actions.num_rows
    reports = {
        path for path, most in zip(actions["path"].to_pylist(), greatest, strict=True) if most and most <= FAILED
    }
    yield from (shard for shard in files if shard.path not in reports)


def _rows(entries: Iterable[ReleaseEntry], run: str, sequence: int) -> pa.Table:
    now = datetime.now(UTC)
    rows = [
        {name: getattr(entry, name) for name in ReleaseEntry.__slots__}
        | {"sequence": sequence, "recorded_at": now, "run": run}
        for entry in entries
    ]
    return table_of(rows, RELEASES)
