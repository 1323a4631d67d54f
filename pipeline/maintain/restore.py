"""Restore: make an old version of an archive the current one.

A restore is a new version with the content of an old one. Later versions stay in the history, so a
restore can be undone by another one. The two tables go back together: each commit of the images
table records the version of the rejections table that it found, and the rejections return to that
version.

A version is refused that lacks an image whose original was released, or holds another row of it, also one of the same
source: the row that the release checked is the only copy, and a later vacuum would remove it.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable

from pipeline.archive.archive import Archive
from pipeline.archive.log.commit_seal import FilesDigest, sealed
from pipeline.archive.log.commits import REJECTIONS_VERSION
from pipeline.archive.log.delta_table import files_of, open_table
from pipeline.archive.log.optimistic_commit import commit_with_retry
from pipeline.archive.schema import IMAGES, ROW_SHA256
from pipeline.archive.shards.merge_reader import SHARD, merged_tables
from pipeline.archive.shards.payload_references import named_by
from pipeline.archive.shards.sorted_tables import side_by_side, texts
from pipeline.maintain.settings import RestoreSettings
from pipeline.runs.lease import Lease
from pipeline.runs.name import new_run
from pipeline.storage.base import StorageError, Store

__all__ = ["RestoreResult", "RestoreSettings", "restore"]

_ROW_COLUMNS = pa.schema([IMAGES.field(name) for name in ("key", "source_sha256", ROW_SHA256)])
_CHECK_THREADS = 16
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """The result of a restore.

    Attributes:
        restored: the version whose content is current again.
        version: the number of the new version that holds it.
        rows: rows of the archive now.
        shards: shards of the archive now.
    """

    restored: int
    version: int
    rows: int
    shards: int

    def to_dict(self) -> dict[str, object]:
        """The fields."""
        return asdict(self)


def restore(settings: RestoreSettings) -> RestoreResult:
    """Make an old version of an archive the current one: rows and rejections.

    Nothing is lost: later versions stay in the history. Restoring the same version twice changes
    nothing.

    Raises:
        MaepressError: in one line, when there is no such version, when a vacuum has removed files
            that it needs, or while a sync, a compaction or another restore runs.
    """
    archive = Archive.open(settings.archive)
    run = new_run()
    with Lease(archive.root, run, "restore") as lease:
        latest = archive.table().version()
        if settings.version > latest:
            raise StorageError(f"{archive.url} has no version {settings.version}: the latest is {latest}")
        rejections = _rejections_at(archive, settings.version)
        # Both tables are checked before either is changed. If the run dies between the two changes,
        # the next encode tries keys again that were rejected since; running the restore again
        # repairs that.
        _check_files(archive.images, settings.version)
        _check_files(archive.rejections, rejections)
        _require_released(archive, settings.version)
        before = open_table(archive.rejections).version()
        lease.check()
        _go_back(archive.rejections, rejections, run, {})
        _go_back(archive.images, settings.version, run, {REJECTIONS_VERSION: before})
    table = archive.table()
    shards = files_of(table)
    return RestoreResult(settings.version, table.version(), sum(shard.rows for shard in shards), len(shards))


def _require_released(archive: Archive, version: int) -> None:
    """Check that a version holds every released image as the present version does.

    Raises:
        StorageError: when it does not.
    """
    if archive.releases.table() is None:
        return
    old, new = (_rows(archive, at) for at in (version, None))
    nothing = pa.schema([*_ROW_COLUMNS, pa.field(SHARD, pa.int32())]).empty_table()
    lacking: list[str] = []
    for there, here, released in side_by_side(old, new, archive.releases.released(), nothing=nothing):
        if released.num_rows:
            held, now = _by_key(there), _by_key(here)
            lacking += [key for key in texts(released["key"]) if key in now and held.get(key) != now[key]]
    if lacking:
        raise StorageError(
            f"version {version} of {archive.url} lacks {len(lacking):,} images whose originals were released, or has "
            f"other rows of them, among them {lacking[0]!r}: their only copies are in later versions"
        )


def _by_key(rows: pa.Table) -> dict[str, tuple[str | None, str | None]]:
    """The SHA-256 of the source and of the row, which old rows do not have, for each key."""
    sums = zip(rows["source_sha256"].to_pylist(), rows[ROW_SHA256].to_pylist(), strict=True)
    return dict(zip(texts(rows["key"]), sums, strict=True))


def _rows(archive: Archive, version: int | None) -> Iterator[pa.Table]:
    return merged_tables(archive.images, archive.shards(version), _ROW_COLUMNS.names)


def _rejections_at(archive: Archive, version: int) -> int:
    """The rejections table's version that the commit after an images version found."""
    later = sorted(
        (entry["version"], entry[REJECTIONS_VERSION])
        for entry in archive.table().history()
        if entry["version"] > version and REJECTIONS_VERSION in entry
    )
    return int(later[0][1]) if later else open_table(archive.rejections).version()


def _check_files(store: Store, version: int) -> None:
    """Check that all files of a version still exist, and the payloads that their rows share.

    Raises:
        StorageError: when some do not.
    """
    now = {shard.path for shard in files_of(open_table(store))}
    gone = list(_missing(store, (s.path for s in files_of(open_table(store, version)) if s.path not in now)))
    if gone:
        raise StorageError(
            f"version {version} of {store.url} cannot be restored: a vacuum has removed {len(gone)} of its files"
        )
    shared = named_by(store, (s.path for s in files_of(open_table(store, version)) if s.path not in now))
    if gone := list(_missing(store, shared)):
        raise StorageError(
            f"version {version} of {store.url} cannot be restored: {len(gone)} payloads that its rows share are missing"
        )


def _missing(store: Store, paths: Iterable[str]) -> Iterator[str]:
    with ThreadPoolExecutor(_CHECK_THREADS) as pool:
        listed = list(paths)
        for path, exists in zip(listed, pool.map(store.exists, listed), strict=True):
            if not exists:
                yield path


def _go_back(store: Store, version: int, run: str, facts: dict[str, Any]) -> None:
    facts = facts | {"run": run, "job": "restore", "restored": version}

    def attempt(table: DeltaTable) -> None:
        if not _same_files(table, store, version):
            record = sealed(facts, FilesDigest(files_of(open_table(store, version))), table, store)
            properties = CommitProperties(custom_metadata=record, max_commit_retries=0)
            table.restore(version, commit_properties=properties)

    commit_with_retry(  # an encode that commits meanwhile is undone, too
        lambda: open_table(store),
        attempt,
        attempts=_ATTEMPTS,
        busy=StorageError(f"others commit to {store.url} all the time: stop them, then restore"),
        failed=f"{store.url} cannot be restored",
    )


def _same_files(table: DeltaTable, store: Store, version: int) -> bool:
    return {s.path for s in files_of(table)} == {s.path for s in files_of(open_table(store, version))}
