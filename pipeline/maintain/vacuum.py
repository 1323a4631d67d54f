"""Vacuum: remove files that are no longer needed.

- Shards that a later commit replaced, once no version within the retention needs them.
- Shards that no commit refers to, because their writer or driver died. A shard that a running job
  has written and not yet committed looks the same, so no file is removed that is younger than the
  retention or than the oldest live run (`pipeline.runs.heartbeat`). If the heartbeat of a live
  run failed, its commit detects the missing shard (`pipeline.archive.commits`).
- Plans of runs that died.
- Unfinished files of dead writers: temporary files on a local disk, multipart uploads in a bucket.

Models are never removed: they are small, and no row can be decoded without its model.
"""

import math
import time
from dataclasses import asdict, dataclass

from deltalake.exceptions import DeltaError

from pipeline.archive.archive import Archive
from pipeline.archive.delta_table import one_line, open_table
from pipeline.maintain.settings import VacuumSettings
from pipeline.runs.heartbeat import RunFolder, list_runs
from pipeline.runs.name import started_at
from pipeline.storage.base import StorageError, Store

__all__ = ["VacuumResult", "VacuumSettings", "vacuum"]


@dataclass(frozen=True, slots=True)
class VacuumResult:
    """The numbers of removed files; in a dry run, of files that would be removed.

    Attributes:
        shards: files of the images table.
        rejections: files of the rejections table.
        shard_bytes: bytes of both.
        plans: plans of dead runs.
        unfinished: files and uploads that were never finished.
        spared_for: ids of live runs; no file younger than the oldest of them is removed.
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
    """Remove files that no version within the retention needs. Safe while jobs run.

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
    dead = [run for run in runs if not run.is_alive(now) and now - _last_seen(run, now) > settings.hours * 3600]
    if not settings.dry_run:
        for run in dead:
            for key in run.files:
                archive.root.delete(key)
    # Last, because credentials may allow everything except listing unfinished uploads.
    unfinished = [found for found in archive.root.unfinished() if found.started < now - age]
    if not settings.dry_run:
        for found in unfinished:
            archive.root.discard(found)
    names = tuple(run.run for run in alive)
    return VacuumResult(shards, rejections, shard_bytes + rejection_bytes, len(dead), len(unfinished), names)


def _remove_files(store: Store, age: float, dry_run: bool) -> tuple[int, int]:
    """Remove a table's files that no version of the last `age` seconds needs.

    Returns their number and bytes.
    """
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


def _last_seen(run: RunFolder, now: float) -> float:
    """Time of a run's last sign of life; now, if neither heartbeat nor id gives any."""
    return max(run.seen, started_at(run.run) or 0.0) or now
