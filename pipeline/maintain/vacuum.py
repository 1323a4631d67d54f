"""Vacuum: remove the files that nothing needs any more.

What is left behind and how it is told apart:

- Shards that a later commit replaced. A version within the retention may still need them: they stay as long.
- Shards that no commit ever named: their writer or driver died. So may be a shard that a running job has written and
  not committed yet; so no file goes that is younger than the retention or than the oldest run that is alive
  (`pipeline.archive.heartbeat`). Should a run have slept through that, its commit notices (`pipeline.archive.commits`).
- Plans of runs that died.
- What dead writers have begun: temporary files on a local disk, multipart uploads in a bucket.

Models always stay: they are small, and rows are worth nothing without them.
"""

import math
import time
from dataclasses import asdict, dataclass

from deltalake.exceptions import DeltaError

from pipeline.archive.archive import Archive
from pipeline.archive.delta_table import one_line, open_table
from pipeline.archive.heartbeat import RunFolder, list_runs
from pipeline.archive.run_id import started_at
from pipeline.maintain.settings import VacuumSettings
from pipeline.storage.base import StorageError, Store

__all__ = ["VacuumResult", "VacuumSettings", "vacuum"]


@dataclass(frozen=True, slots=True)
class VacuumResult:
    """What a vacuum removed (or, in a dry run, would remove).

    Attributes:
        shards: files of the images table.
        rejections: files of the rejections table.
        shard_bytes: of both.
        plans: runs whose plan was left behind.
        unfinished: files and uploads that were never finished.
        spared_for: runs that are alive; nothing younger than the oldest of them was removed.
    """

    shards: int
    rejections: int
    shard_bytes: int
    plans: int
    unfinished: int
    spared_for: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The fields."""
        return asdict(self)


def vacuum(settings: VacuumSettings) -> VacuumResult:
    """Remove what no version of the last hours needs. Safe beside running jobs.

    Raises:
        MaepressError: in one line, when there is no archive or something cannot be removed.
    """
    archive = Archive.open(settings.archive)
    now = time.time()
    runs = list_runs(archive.root)
    alive = [run for run in runs if run.is_alive(now)]
    age = max([settings.hours * 3600, *(now - run.started for run in alive)])
    shards, shard_bytes = _remove_files(archive.images, age, settings.dry_run)
    rejections, rejection_bytes = _remove_files(archive.rejections, age, settings.dry_run)
    dead = [run for run in runs if not run.is_alive(now) and now - _last_word(run, now) > settings.hours * 3600]
    if not settings.dry_run:
        for run in dead:
            for key in run.files:
                archive.root.delete(key)
    # Last, as it may be forbidden where everything else is allowed.
    unfinished = [found for found in archive.root.unfinished() if found.started < now - age]
    if not settings.dry_run:
        for found in unfinished:
            archive.root.discard(found)
    names = tuple(run.run for run in alive)
    return VacuumResult(shards, rejections, shard_bytes + rejection_bytes, len(dead), len(unfinished), names)


def _remove_files(store: Store, age: float, dry_run: bool) -> tuple[int, int]:
    """Number and bytes of a table's files that are older than `age` seconds and that no younger version needs."""
    hours = math.ceil(age / 3600)
    try:
        table = open_table(store)
        paths = set(table.vacuum(hours, dry_run=True, enforce_retention_duration=False, full=True))
        size = sum(entry.size for entry in store.entries() if entry.key in paths) if paths else 0
        if paths and not dry_run:
            table.vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True)
    except (DeltaError, OSError) as e:
        raise StorageError(f"{store.url} cannot be cleaned up: {one_line(e)}") from e
    return len(paths), size


def _last_word(run: RunFolder, now: float) -> float:
    """When a run was last known to work; a folder that tells nothing counts as new."""
    return max(run.seen, started_at(run.run) or 0.0) or now
