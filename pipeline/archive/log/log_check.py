"""Checks a Delta table's transaction log: every byte of our commits, and the files that the table has after them.

Three checks together leave no bit of the log unseen: the seal of each of our commits covers what we
wrote into its record, each of our commits knows the SHA-256 of the log file before it, and the
latest knows a digest of all files that the table has after it, whether they are read from the log
or from a checkpoint. A checkpoint also repeats the numbers of commits, by which a job that continues
knows what it has committed: what deltalake makes of them is compared with the commits that are there.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipeline.archive.log.commit_seal import (
    FILES,
    NUMBER,
    PREVIOUS,
    REMOVED_AT,
    FilesDigest,
    is_intact,
    is_ours,
    log_file,
)
from pipeline.archive.log.delta_table import files_of, open_table
from pipeline.archive.shards.shard_writer import Shard
from pipeline.storage.base import Fetched, StorageError, Store
from pipeline.storage.error_text import panics_as_errors

_LOG = "_delta_log"
_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.\d{10}\.\d{10})?\.parquet")
_ACTIONS = frozenset({"add", "remove", "txn", "commitInfo", "protocol", "metaData"})
"""Actions of commits of maepress."""
_OPERATIONS = frozenset({"WRITE", "RESTORE", "ADD COLUMN"})
"""Delta's names of the operations of commits of maepress."""
_AT_ONCE = 64

Action = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LoggedFile:
    """A file of a table, as the log describes it.

    Attributes:
        shard: without `stats`.
        stats: its statistics; empty where the log has none, or none that can be read.
    """

    shard: Shard
    stats: dict[str, Any]

    def to_json(self) -> str:
        """As text, for workers."""
        return json.dumps([asdict(self.shard), self.stats])

    def described(self) -> Shard:
        """The shard with its statistics, as a commit adds it to another table."""
        return replace(self.shard, stats=json.dumps(self.stats))

    @classmethod
    def from_json(cls, text: str) -> "LoggedFile":
        """What `to_json` wrote."""
        shard, stats = json.loads(text)
        return cls(Shard(**shard), stats)


class Log:
    """The log of a table, read up to a version.

    Attributes:
        version: up to which it was read.
        problems: what is wrong with it, one line each.
        files: the table's files, in order of first key.
    """

    def __init__(self, store: Store, table: DeltaTable) -> None:
        """Read the whole log; memory grows with the number of files.

        Args:
            store: the table's root.
            table: opened at the version up to which the log counts.

        Raises:
            StorageError: when the log cannot be listed.
        """
        self.version: int = table.version()
        self.problems: list[str] = []
        self._store, self._table = store, table
        names = [entry.key for entry in store.child(_LOG).entries()]
        latest: int = table.version()
        self._versions = sorted(int(found[1]) for name in names if (found := _COMMIT.fullmatch(name)))
        self._versions = [version for version in self._versions if version <= latest]
        checkpoints = [(int(found[1]), name) for name in names if (found := _CHECKPOINT.fullmatch(name))]
        self._checkpoint = max((version for version, _ in checkpoints if version <= latest), default=-1)
        self._stats: dict[str, str] = {}
        for version, name in checkpoints:
            if version == self._checkpoint:
                self._read_checkpoint(name)
        self._read_commits()
        self.files = [LoggedFile(shard, _parsed(self._stats.get(shard.path))) for shard in files_of(table)]

    def _read_checkpoint(self, name: str) -> None:
        try:
            with self._store.open_input(f"{_LOG}/{name}") as file:
                rows = pq.ParquetFile(file).read(["add.path", "add.stats"])["add"].to_pylist()
        except Exception as e:  # whatever a damaged Parquet file makes its parser raise
            self.problems.append(f"the checkpoint {name} cannot be read: {type(e).__name__}")
            return
        self._stats |= {row["path"]: row["stats"] for row in rows if row and row.get("path")}

    def _read_commits(self) -> None:
        """Check all commits in order, and take the files' statistics from those after the checkpoint."""
        latest: int = self._table.version()
        if self._versions != list(range(latest - len(self._versions) + 1, latest + 1)) or not self._versions:
            self.problems.append("versions are missing from its log")
        before: str | None = None
        record: Action | None = None
        numbers: dict[str, int] = {}
        for version, data in self._commits():
            try:
                actions = [json.loads(line) for line in data.splitlines() if line.strip()]
                found = _record_of(actions)
            except (ValueError, RecursionError, AttributeError, TypeError) as e:
                self.problems.append(f"version {version} of its log is damaged: {type(e).__name__}")
                actions, found = [], None
            if found is not None:
                self._check(version, actions, found, before)
                record = found | {"version": version}
            numbers |= {str(txn.get("appId")): txn.get("version", 0) for txn in _txns(actions)}
            if version > self._checkpoint:
                for action in actions:
                    if isinstance(add := action.get("add"), dict):
                        self._stats[str(add.get("path"))] = add.get("stats") or ""
            before = hashlib.sha256(data).hexdigest()
        if record is not None:
            self._check_files(record)
        if not self._knows(numbers):
            self.problems.append(f"the checkpoint of version {self._checkpoint} is damaged: it misnumbers commits")

    def _knows(self, numbers: dict[str, int]) -> bool:
        """Whether deltalake, which reads the checkpoint, gives the last number of each run of these commits."""
        try:
            with panics_as_errors(f"the table {self._store.url}"):
                return all(self._table.transaction_version(run) == number for run, number in numbers.items())
        except (StorageError, DeltaError, OSError):
            return False

    def _commits(self) -> Iterator[tuple[int, bytes]]:
        """Each version with the bytes of its log file, in order."""
        for start in range(0, len(self._versions), _AT_ONCE):
            versions = self._versions[start : start + _AT_ONCE]
            for version, got in zip(versions, self._store.fetch([log_file(v) for v in versions]), strict=True):
                if isinstance(got, Fetched):
                    yield version, got.data
                else:
                    self.problems.append(f"version {version} of its log cannot be read: {got.reason}")

    def _check(self, version: int, actions: list[Action], record: Action, before: str | None) -> None:
        if not is_intact(record) or not _agrees(actions, record):
            self.problems.append(f"version {version} of its log was changed after it was written")
        elif before is not None and record[PREVIOUS] not in ("", before):
            self.problems.append(f"version {version - 1} of its log was changed after version {version} was written")

    def _check_files(self, record: Action) -> None:
        version = record["version"]
        try:
            latest = version == self._table.version()
            files = files_of(self._table if latest else open_table(self._store, version))
        except StorageError as e:
            self.problems.append(e.message)
            return
        if record.get(FILES) != FilesDigest(files).hexdigest():
            self.problems.append(f"its files are not those that version {version} left: its log is damaged")


def _record_of(actions: list[Action]) -> Action | None:
    """The record of a commit of maepress; None for commits of other tools, which have no seal."""
    records = [value for action in actions for value in action.values() if isinstance(value, dict) and is_ours(value)]
    return records[0] if records else None


def _agrees(actions: list[Action], record: Action) -> bool:
    """Whether the actions of a commit of maepress are those of which its record tells."""
    names = [name for action in actions for name in action]
    if not _ACTIONS.issuperset(names) or record.get("operation") not in _OPERATIONS:
        return False
    if NUMBER not in record:  # of a restore, or of added columns: deltalake chooses the actions
        return True
    txns = [(txn.get("appId"), txn.get("version")) for txn in _txns(actions)]
    removed = {remove.get("deletionTimestamp") for action in actions if (remove := action.get("remove"))}
    return txns == [(record.get("run"), record[NUMBER])] and removed <= {record.get(REMOVED_AT)}


def _txns(actions: list[Action]) -> list[Action]:
    return [txn for action in actions if isinstance(txn := action.get("txn"), dict)]


def _parsed(stats: str | None) -> dict[str, Any]:
    try:
        found = json.loads(stats or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
