"""The seal of a commit: checksums by which damage to a table's transaction log is noticed.

Delta's log has no checksums of its own: one flipped bit in the word "add" makes a whole shard
disappear without an error. So every commit of maepress carries in its record, next to what it says
about the run:

    at              time of the commit
    previousSha256  SHA-256 of the log file of the version before; empty when that is gone
    filesSha256     digest of all files that the table has after the commit
    sealed          names of the entries that the seal covers
    sha256          SHA-256 of these entries as JSON

Other tools ignore these entries, and their commits have none.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from deltalake import DeltaTable

from pipeline.archive.schema import LOG
from pipeline.archive.shards.shard_writer import Shard
from pipeline.storage.base import Fetched, FetchFailed, Outage, Store

NUMBER, REMOVED_AT = "number", "removedAt"
"""Entries of commits whose actions we choose: the commit's number within its run, and the deletion
time of the files that it removes, in milliseconds since 1970."""
AT, PREVIOUS, FILES, SEALED, SEAL = "at", "previousSha256", "filesSha256", "sealed", "sha256"
_ENTRIES = frozenset({AT, PREVIOUS, FILES, SEALED, SEAL})
_MARKS = _ENTRIES | {"run", "job", "rejectionsVersion"}
_MODULUS = 1 << 256


def log_file(version: int) -> str:
    """Path of a version's log file, relative to the table's root."""
    return f"{LOG}{version:020d}.json"


class FilesDigest:
    """A digest of a table's files that takes no longer to update than the change is large.

    It is the sum of the files' SHA-256, so that files can be added and removed in any order.
    """

    def __init__(self, files: Iterable[Shard] = ()) -> None:
        """Args: files: of the table."""
        self._sum = 0
        self.change(files, ())

    def change(self, adds: Iterable[Shard], removes: Iterable[Shard]) -> None:
        """Follow a commit."""
        self._sum = (self._sum + sum(map(_number, adds)) - sum(map(_number, removes))) % _MODULUS

    def changed(self, adds: Iterable[Shard], removes: Iterable[Shard]) -> "FilesDigest":
        """The digest after a commit."""
        made = FilesDigest()
        made._sum = self._sum
        made.change(adds, removes)
        return made

    def hexdigest(self) -> str:
        """64 hex digits."""
        return f"{self._sum:064x}"


def _number(shard: Shard) -> int:
    facts = [shard.path, shard.size, shard.modified_ms, shard.rows, shard.first_key, shard.last_key]
    return int.from_bytes(hashlib.sha256(json.dumps(facts).encode()).digest(), "big")


def sealed(facts: Mapping[str, Any], after: FilesDigest, table: DeltaTable, store: Store) -> dict[str, Any]:
    """The record of a commit, with its seal.

    Args:
        facts: what the job says about itself.
        after: the table's files after the commit.
        table: opened at the version before the commit.
        store: the table's root.

    Raises:
        Outage: when the store does not answer.
    """
    (got,) = store.fetch([log_file(table.version())])
    if isinstance(got, FetchFailed) and got.transient:
        raise Outage(f"{store.url}/{got.key} cannot be read: {got.reason}")
    previous = hashlib.sha256(got.data).hexdigest() if isinstance(got, Fetched) else ""
    record = {
        **facts,
        AT: datetime.now(UTC).isoformat(timespec="milliseconds"),
        PREVIOUS: previous,
        FILES: after.hexdigest(),
    }
    record[SEALED] = ",".join(sorted(record))
    return record | {SEAL: _seal(record)}


def _seal(record: Mapping[str, Any]) -> str | None:
    """The seal that a record ought to have; None when an entry that it covers is missing."""
    names = str(record.get(SEALED)).split(",")
    if not record.keys() >= set(names):
        return None
    covered = {name: record[name] for name in (*names, SEALED)}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


def is_ours(record: Mapping[str, Any]) -> bool:
    """Whether a commit's record has any entry of maepress, even if others were damaged."""
    return not _MARKS.isdisjoint(record)


def is_intact(record: Mapping[str, Any]) -> bool:
    """Whether the seal of a commit of maepress holds."""
    return record.keys() >= _ENTRIES and record[SEAL] == _seal(record)


def time_of(record: Mapping[str, Any]) -> datetime:
    """The time of a commit: our own entry, which the seal covers, or Delta's for commits of other tools."""
    try:
        return datetime.fromisoformat(record[AT])
    except (LookupError, TypeError, ValueError):
        return datetime.fromtimestamp(record["timestamp"] / 1000, UTC)
