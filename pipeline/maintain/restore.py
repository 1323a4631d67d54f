"""History and restore: what each commit did, and the way back from a bad night.

A restore is a new version with the content of an old one; what came after it stays in the history, so a restore can be
undone like anything else. The two tables go back together: each commit of the images says which version of the
rejections it stood on, and that is the version they return to.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from pipeline.archive.archive import Archive
from pipeline.archive.commits import REJECTIONS_VERSION
from pipeline.archive.delta_table import files_of, one_line, open_table
from pipeline.archive.lease import Lease
from pipeline.archive.run_id import new_run
from pipeline.maintain.settings import HistorySettings, RestoreSettings
from pipeline.storage.base import StorageError, Store

__all__ = ["HistorySettings", "RestoreResult", "RestoreSettings", "Version", "history", "restore"]

_LOOKERS = 16
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Version:
    """One commit of the images table.

    Attributes:
        version: its number.
        time: UTC.
        job: what made it: "encode", "sync", "compact", "restore to N"; Delta's word for what other tools did.
        run: the run that committed, None for what other tools did.
        rows: pressed or kept in it, None where that is unknown.
        retired: rows that left with it, None where that is unknown.
        payload_bytes: of `rows`.
    """

    version: int
    time: datetime
    job: str
    run: str | None
    rows: int | None
    retired: int | None
    payload_bytes: int | None

    def to_dict(self) -> dict[str, object]:
        """The fields, as JSON can hold them."""
        return asdict(self) | {"time": self.time.isoformat()}


def history(settings: HistorySettings) -> list[Version]:
    """The latest versions of an archive, latest first.

    Raises:
        MaepressError: in one line, when there is no archive.
    """
    table = Archive.open(settings.archive).table()
    return [_version(entry) for entry in table.history(settings.versions)]


def _version(entry: dict[str, Any]) -> Version:
    restored = entry.get("restored")
    job = f"restore to {restored}" if restored is not None else entry.get("job") or entry["operation"].lower()
    return Version(
        entry["version"],
        datetime.fromtimestamp(entry["timestamp"] / 1000, UTC),
        job,
        entry.get("run"),
        entry.get("rows"),
        entry.get("retired"),
        entry.get("payloadBytes"),
    )


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a restore did.

    Attributes:
        restored: the version whose content is the current one again.
        version: the number that it has now.
        rows: of the archive now.
        shards: of the archive now.
    """

    restored: int
    version: int
    rows: int
    shards: int

    def to_dict(self) -> dict[str, object]:
        """The fields."""
        return asdict(self)


def restore(settings: RestoreSettings) -> RestoreResult:
    """Make an old version of an archive the current one, rows and rejections alike.

    Nothing is lost by it: later versions stay in the history. Doing it twice is doing it once.

    Raises:
        MaepressError: in one line, when there is no such version, when a vacuum has removed files that it needs, or
            when a sync or a compaction is at work.
    """
    archive = Archive.open(settings.archive)
    run = new_run()
    with Lease(archive.root, run, "restore") as lease:
        latest = archive.table().version()
        if settings.version > latest:
            raise StorageError(f"{archive.url} has no version {settings.version}: the latest is {latest}")
        rejections = _rejections_at(archive, settings.version)
        # Both are looked at before either is touched. Should the run die between the two, keys are tried again that
        # were refused since, and running it again mends that.
        _check_files(archive.images, settings.version)
        _check_files(archive.rejections, rejections)
        before = open_table(archive.rejections).version()
        lease.check()
        _go_back(archive.rejections, rejections, run, {})
        _go_back(archive.images, settings.version, run, {REJECTIONS_VERSION: before})
    table = archive.table()
    shards = files_of(table)
    return RestoreResult(settings.version, table.version(), sum(shard.rows for shard in shards), len(shards))


def _rejections_at(archive: Archive, version: int) -> int:
    """The version of the rejections that belongs to one of the images: that which the next commit found."""
    later = sorted(
        (entry["version"], entry[REJECTIONS_VERSION])
        for entry in archive.table().history()
        if entry["version"] > version and REJECTIONS_VERSION in entry
    )
    return int(later[0][1]) if later else open_table(archive.rejections).version()


def _check_files(store: Store, version: int) -> None:
    """Make sure that a version can be read.

    Raises:
        StorageError: when it cannot.
    """
    now = {shard.path for shard in files_of(open_table(store))}
    gone = list(_missing(store, (s.path for s in files_of(open_table(store, version)) if s.path not in now)))
    if gone:
        raise StorageError(
            f"version {version} of {store.url} cannot come back: a vacuum has removed {len(gone)} of its files"
        )


def _missing(store: Store, paths: Iterable[str]) -> Iterator[str]:
    with ThreadPoolExecutor(_LOOKERS) as pool:
        listed = list(paths)
        for path, exists in zip(listed, pool.map(store.exists, listed), strict=True):
            if not exists:
                yield path


def _go_back(store: Store, version: int, run: str, facts: dict[str, Any]) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        table = open_table(store)
        if _same_files(table, store, version):
            return
        facts = facts | {"run": run, "job": "restore", "restored": version}
        properties = CommitProperties(custom_metadata=facts, max_commit_retries=0)
        try:
            table.restore(version, commit_properties=properties)
        except CommitFailedError as e:  # an encode has committed meanwhile: that goes back, too
            if attempt == _ATTEMPTS:
                raise StorageError(f"others commit to {store.url} all the time: stop them, then restore") from e
        except (DeltaError, OSError) as e:
            if attempt == _ATTEMPTS:
                raise StorageError(f"{store.url} cannot be restored: {one_line(e)}") from e
        else:
            return


def _same_files(table: DeltaTable, store: Store, version: int) -> bool:
    return {s.path for s in files_of(table)} == {s.path for s in files_of(open_table(store, version))}
