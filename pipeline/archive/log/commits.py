"""Committing receipts: one atomic transaction of the images table per batch of receipts.

Delta decides races by "put if absent" of the next version's log file, but does not know that a key
may be in the table only once: two jobs that both add `a.jpg` in new files do not conflict for
Delta. So a commit is tried at exactly the version that was read. When another job has committed
since, its new keys are compared with ours. Two more cases are handled here: removing a file that an
earlier version has removed already, and a replayed commit. The run's commit number in the log shows
a replay, even if the answer to the first commit was lost.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.transaction import AddAction, RemoveAction

from model.core.errors import MaepressError
from pipeline.archive.log.added_columns import add_missing_columns
from pipeline.archive.log.commit_seal import NUMBER, REMOVED_AT, FilesDigest, sealed
from pipeline.archive.log.delta_table import files_of, open_table
from pipeline.archive.log.optimistic_commit import commit_with_retry, is_committed
from pipeline.archive.receipt import Receipt, Rejection
from pipeline.archive.schema import IMAGES, OUTAGE, REJECTIONS
from pipeline.archive.shards.row_hash import table_of
from pipeline.archive.shards.shard_reader import read_rows
from pipeline.archive.shards.shard_writer import Shard, write_rejections
from pipeline.storage.base import StorageError, Store

_ATTEMPTS = 20

_VACUUMED_AFTER_MS = 30 * 60 * 1000
"""Age of a shard above which a commit checks that the file still exists: a driver that was
suspended for days may find that a vacuum has removed its uncommitted files."""

REJECTIONS_VERSION = "rejectionsVersion"
"""Name of the entry in a commit of the images table that holds the version of the rejections table
before it."""


class CommitConflict(MaepressError):
    """Another job changed the same keys; nothing of this commit is visible.

    Run the job again: it makes a new plan and continues.
    """


@dataclass(frozen=True, slots=True)
class Commit:
    """The result of a commit.

    Attributes:
        version: of the images table afterwards.
        skipped: whether the table had a commit of this number already (a replay).
    """

    version: int
    skipped: bool


class Committer:
    """Commits the receipts of one run, as numbers 1, 2, 3 and so on.

    A run has one committer, on the driver, which is created before planning.

    Attributes:
        run: name of the run, in rows and in the log.
        job: "encode", "sync" ..., for the log.
        number: of the last commit, 0 at first; a run that is resumed under its old name continues
            its numbers.
    """

    def __init__(self, images: Store, rejections: Store, run: str, job: str = "encode") -> None:
        """Read the table's present version, after adding to it the columns that it lacks.

        Args:
            images: root of the images table.
            rejections: root of the rejections table.
            run: a name that no other run has.
            job: for the log.
        """
        self.run, self.job = run, job
        self._images, self._rejections = images, rejections
        add_missing_columns(images, IMAGES, run)
        table = open_table(images)
        self._version: int = table.version()
        self._files: dict[str, Shard] = {shard.path: shard for shard in files_of(table)}
        self._digest = FilesDigest(self._files.values())
        self.number = table.transaction_version(run) or 0

    def commit(self, receipts: Sequence[Receipt], number: int | None = None, *, rearranges: bool = False) -> Commit:
        """Replace shards by new ones in one transaction; then add the rejections.

        If the driver dies between the two, the rejected keys are neither rows nor rejections, and
        the next run tries them again.

        Args:
            receipts: at least one.
            number: the commit's number within the run; None for the next one. A number that the
                table has already is a replay and is skipped.
            rearranges: the rows are the same before and after; recorded for readers that follow
                changes.

        Raises:
            CommitConflict: when another job committed some of the same keys or replaced the same
                shard, or a vacuum removed a shard that was not committed in time.
            StorageError: when the store fails after retries; committing again with the same number
                is safe.
        """
        number = self.number + 1 if number is None else number
        adds = [receipt.add for receipt in receipts if receipt.add]
        removes = [receipt.remove for receipt in receipts if receipt.remove]
        facts = {
            "run": self.run,
            "job": self.job,
            "rows": sum(receipt.rows for receipt in receipts),
            "sourceBytes": sum(receipt.source_bytes for receipt in receipts),
            "payloadBytes": sum(receipt.payload_bytes for receipt in receipts),
            "retired": sum(receipt.retired for receipt in receipts),
            # For `restore`: the rejections before this commit.
            REJECTIONS_VERSION: open_table(self._rejections).version(),
        }
        skipped = not self._commit_images(adds, removes, number, facts, rearranges) if adds or removes else False
        self._commit_rejections([rejection for receipt in receipts for rejection in receipt.rejections], number)
        self.number = max(self.number, number)
        return Commit(self._version, skipped)

    def _commit_images(
        self, adds: list[Shard], removes: list[str], number: int, facts: dict[str, Any], rearranges: bool
    ) -> bool:
        """Whether the commit is new; False for a replay."""
        mark = Transaction(self.run, number)

        def attempt(table: DeltaTable) -> bool:
            if is_committed(table, mark):
                self._read_files(table)
                return False
            known = self._files
            if table.version() != self._version:
                self._read_files(table)
            self._check_own(adds, removes)
            self._check_others(known, adds)
            gone = [self._files[path] for path in removes]
            self._digest = transact(self._images, table, IMAGES, adds, gone, mark, facts, self._digest, rearranges)
            self._version = table.version() + 1
            for path in removes:
                del self._files[path]
            self._files |= {shard.path: shard for shard in adds}
            return True

        url = self._images.url
        busy = StorageError(f"{url} is so busy with other writers that no commit got through: run this job again")
        return commit_with_retry(
            lambda: open_table(self._images),
            attempt,
            attempts=_ATTEMPTS,
            busy=busy,
            failed=f"the commit to {url} failed",
        )

    def _read_files(self, table: DeltaTable) -> None:
        self._version = table.version()
        self._files = {shard.path: shard for shard in files_of(table)}
        self._digest = FilesDigest(self._files.values())

    def _check_own(self, adds: list[Shard], removes: list[str]) -> None:
        if not self._files.keys() >= set(removes):
            raise CommitConflict(
                f"another job replaced a shard of {self._images.url} that this one was changing: run this job again"
            )
        late = time.time_ns() // 1_000_000 - _VACUUMED_AFTER_MS
        if any(shard.modified_ms < late and not self._images.exists(shard.path) for shard in adds):
            raise CommitConflict(
                f"shards of this job waited so long that a vacuum removed them from {self._images.url}: run again"
            )

    def _check_others(self, before: dict[str, Shard], adds: list[Shard]) -> None:
        if before is self._files:
            return  # no commit since
        for theirs in (shard for path, shard in self._files.items() if path not in before):
            for ours in adds:
                if theirs.first_key <= ours.last_key and ours.first_key <= theirs.last_key:
                    both = _keys(self._images, theirs) & _keys(self._images, ours)
                    if both:
                        raise CommitConflict(
                            f"another job added {min(both)!r} to {self._images.url} meanwhile: run this job again"
                        )

    def _commit_rejections(self, rejections: list[Rejection], number: int) -> None:
        if not rejections:
            return
        mark = Transaction(self.run, number)

        def attempt(table: DeltaTable) -> None:
            if is_committed(table, mark):
                return
            files = files_of(table)
            fresh = _unknown(self._rejections, files, rejections)
            shard = write_rejections(self._rejections, _to_table(fresh, self.run)) if fresh else None
            if shard:  # an orphan if another writer is faster, who may have added some of the same rejections
                facts = {"run": self.run, "job": self.job}
                transact(self._rejections, table, REJECTIONS, [shard], [], mark, facts, FilesDigest(files))

        url = self._rejections.url
        busy = StorageError(f"{url} is so busy with other writers that no commit got through: run this job again")
        commit_with_retry(
            lambda: open_table(self._rejections),
            attempt,
            attempts=_ATTEMPTS,
            busy=busy,
            failed=f"the commit to {url} failed",
        )


def transact(
    store: Store,
    table: DeltaTable,
    schema: pa.Schema,
    adds: Sequence[Shard],
    removes: Sequence[Shard],
    mark: Transaction,
    facts: dict[str, Any],
    before: FilesDigest,
    rearranges: bool = False,
) -> FilesDigest:
    """Write the version after the one at which `table` was opened.

    Args:
        store: the table's root.
        table: a Delta table.
        schema: of the table.
        adds: files to add.
        removes: files to remove.
        mark: identifies this commit, to recognise a replay.
        facts: entries for the commit's record in the log, which gets a seal.
        before: digest of the table's files.
        rearranges: whether the rows stay the same.

    Returns:
        The digest of the table's files after the commit.

    Raises:
        CommitFailedError: when another writer has written that version.
    """
    now = time.time_ns() // 1_000_000
    actions: list[AddAction | RemoveAction] = [
        AddAction(s.path, s.size, {}, s.modified_ms, not rearranges, s.stats) for s in adds
    ]
    actions += [RemoveAction(s.path, not rearranges, now, partition_values={}) for s in removes]
    after = before.changed(adds, removes)
    record = sealed(facts | {NUMBER: mark.version, REMOVED_AT: now}, after, table, store)
    # No retries inside: they would skip other writers' commits without comparing keys.
    properties = CommitProperties(custom_metadata=record, max_commit_retries=0, app_transactions=[mark])
    table.create_write_transaction(actions, "append", schema, commit_properties=properties)
    return after


def _keys(store: Store, shard: Shard) -> set[str]:
    return {row[0] for row in read_rows(store, shard.path, ["key"])}


def _unknown(store: Store, files: list[Shard], rejections: list[Rejection]) -> list[Rejection]:
    """Rejections that the table does not have yet, each (key, etag) once.

    A rejection whose reason was an outage may be followed by a final one.
    """
    new = {(rejection.key, rejection.etag): rejection for rejection in rejections}
    first, last = min(new)[0], max(new)[0]
    for shard in files:
        if shard.first_key <= last and first <= shard.last_key:
            for key, etag, stage in read_rows(store, shard.path, ["key", "etag", "stage"]):
                if stage != OUTAGE or ((key, etag) in new and new[key, etag].stage == OUTAGE):
                    new.pop((key, etag), None)
    return list(new.values())


def _to_table(rejections: list[Rejection], run: str) -> pa.Table:
    now = datetime.now(UTC)
    rows = [
        {"key": r.key, "etag": r.etag, "stage": r.stage, "reason": r.reason, "rejected_at": now, "run": run}
        for r in rejections
    ]
    return table_of(rows, REJECTIONS)
