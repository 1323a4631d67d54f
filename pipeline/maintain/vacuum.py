"""Vacuum: remove files that are no longer needed.

- Shards that a later commit replaced, once no version within the retention needs them.
- Shards that no commit refers to, because their writer or driver died. A shard that a running job
  has written and not yet committed looks the same, so no file is removed that is younger than the
  retention or than the oldest live run (`pipeline.runs.heartbeat`). If the heartbeat of a live
  run failed, its commit detects the missing shard (`pipeline.archive.log.commits`).
- Plans of runs that died.
- Payloads that rows share and that no shard names, neither one that stays nor one that is not
  committed yet (`pipeline.archive.shards.shared_payloads`), unless a live run wrote them, or one that began
  within the retention; none while a replication copies some here.
- Unfinished files of dead writers: temporary files on a local disk, multipart uploads in a bucket.

Models are never removed: they are small, and no row can be decoded without its model.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from deltalake.exceptions import DeltaError

from pipeline.archive.archive import Archive
from pipeline.archive.log.delta_table import files_of, open_table
from pipeline.archive.shards.payload_references import files_of_table, named_by, shared_payloads
from pipeline.archive.shards.shared_payloads import FOLDER, name_in, run_in
from pipeline.maintain.replicate import JOB as REPLICATING
from pipeline.maintain.settings import VacuumSettings
from pipeline.runs.heartbeat import RunFolder, list_runs
from pipeline.runs.name import started_at
from pipeline.storage.base import StorageError, Store
from pipeline.storage.error_text import one_line

__all__ = ["VacuumResult", "VacuumSettings", "vacuum"]

_REMOVING_THREADS = 16
_AT_ONCE = 256
"""Files that are removed between two looks at what the present version needs."""


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
        waiting: files of both tables that a commit replaced, and that an older version within the
            retention still needs.
        waiting_bytes: bytes of these.
        next_in_hours: hours after which a vacuum with the same settings removes the first of these,
            to the hour; None when nothing waits.
        payloads: payloads that rows shared.
        payload_bytes: bytes of these.
        payloads_left: why none of these was looked for, in one line; None where they were.
    """

    shards: int
    rejections: int
    shard_bytes: int
    plans: int
    unfinished: int
    spared_for: tuple[str, ...]
    waiting: int = 0
    waiting_bytes: int = 0
    next_in_hours: int | None = None
    payloads: int = 0
    payload_bytes: int = 0
    payloads_left: str | None = None

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
    gone = _remove_files(archive.images, age, settings.dry_run)
    shards, shard_bytes = len(gone), sum(gone.values())
    gone_rejections = _remove_files(archive.rejections, age, settings.dry_run)
    rejections, rejection_bytes = len(gone_rejections), sum(gone_rejections.values())
    names = tuple(run.run for run in alive)

    def spared(run: str) -> bool:
        return run in names or now - (started_at(run) or 0.0) < settings.hours * 3600

    payloads, payload_bytes, payloads_left = _remove_payloads(archive, gone, spared, settings.dry_run)
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
    removed = (shards, rejections, shard_bytes + rejection_bytes, len(dead), len(unfinished), names)
    waiting = [_waiting(table, age, settings.hours) for table in (archive.images, archive.rejections)]
    hours = [found.next_in_hours for found in waiting if found.next_in_hours is not None]
    counts = (sum(found.files for found in waiting), sum(found.bytes for found in waiting))
    return VacuumResult(*removed, *counts, min(hours, default=None), payloads, payload_bytes, payloads_left)


def _remove_files(store: Store, age: float, dry_run: bool) -> dict[str, int]:
    """Remove a table's files that no version of the last `age` seconds needs.

    The log tells which; but it may come from others, and name files elsewhere, or the folder may
    hold links to them. So only what the store itself lists is removed, and by the store.

    Returns their paths and bytes.
    """
    try:
        table = open_table(store)
        # This also names files that an earlier vacuum removed, as long as the log remembers them.
        unneeded = set(table.vacuum(math.ceil(age / 3600), dry_run=True, enforce_retention_duration=False, full=True))
    except (DeltaError, OSError) as e:
        raise StorageError(f"{store.url} cannot be cleaned up: {one_line(e)}") from e
    unneeded = {path for path in unneeded if not path.startswith(f"{FOLDER}/")}  # payloads are in no log
    found = {entry.key: entry.size for entry in store.entries() if entry.key in unneeded} if unneeded else {}
    if dry_run:
        return found
    gone: dict[str, int] = {}
    with ThreadPoolExecutor(_REMOVING_THREADS) as pool:
        listed = list(found)
        for start in range(0, len(listed), _AT_ONCE):
            paths = listed[start : start + _AT_ONCE]
            needed = {shard.path for shard in files_of(open_table(store))}  # a restore may need some again
            gone |= {path: found[path] for path in paths if path not in needed}
            list(pool.map(store.delete, (path for path in paths if path not in needed)))
    return gone


def _remove_payloads(
    archive: Archive, gone: Collection[str], spared: Callable[[str], bool], dry_run: bool
) -> tuple[int, int, str | None]:
    """Remove payloads that no file of the images table names.

    Args:
        archive: to clean up.
        gone: paths of files that were removed, or would be.
        spared: whether what a run wrote is left alone.
        dry_run: remove nothing.

    Returns:
        Their number and bytes, and why they were not looked for.
    """
    there = {key: size for key, size in shared_payloads(archive.images).items() if not spared(run_in(name_in(key)))}
    if not there:
        return 0, 0, None
    # They come before the shards that name them, under the names that runs of the primary gave them.
    copying = [run.run for run in list_runs(archive.root) if run.job == REPLICATING and run.is_alive(time.time())]
    if copying:
        return 0, 0, f"replicate {copying[0]} may be copying some"
    try:
        needed = named_by(archive.images, (path for path in files_of_table(archive.images) if path not in gone))
    except StorageError as e:  # a file that cannot be read may name any of them
        return 0, 0, e.message
    unneeded = {key: size for key, size in there.items() if key not in needed}
    if not dry_run:
        with ThreadPoolExecutor(_REMOVING_THREADS) as pool:
            list(pool.map(archive.images.delete, unneeded))
    return len(unneeded), sum(unneeded.values()), None


def _sizes(store: Store, paths: set[str]) -> list[int]:
    """The sizes of those files that are still there."""
    return [entry.size for entry in store.entries() if entry.key in paths] if paths else []


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Replaced files of one table that are not old enough, and when the first of them will be."""

    files: int = 0
    bytes: int = 0
    next_in_hours: int | None = None


def _waiting(store: Store, age: float, retention: float) -> _Waiting:
    """What a later vacuum will remove from a table, as far as its log tells: files that a commit replaced.

    Args:
        store: of the table.
        age: seconds after which files go now.
        retention: hours after which they go while no other job runs.
    """
    hours = math.ceil(retention)
    try:
        table = open_table(store)

        def replaced(hours: int) -> set[str]:
            """Files that were replaced at least this many hours ago."""
            return set(table.vacuum(hours, dry_run=True, enforce_retention_duration=False))

        gone = replaced(math.ceil(age / 3600))
        waiting = replaced(0) - gone
        if not waiting:
            return _Waiting()
        # The greatest age in whole hours at which one of them appears.
        oldest = bisect_left(range(1, hours), True, key=lambda hours: replaced(hours) <= gone)
        sizes = _sizes(store, waiting)
    except (DeltaError, OSError) as e:
        raise StorageError(f"{store.url} cannot be read: {one_line(e)}") from e
    return _Waiting(len(sizes), sum(sizes), hours - oldest)


def _last_seen(run: RunFolder, now: float) -> float:
    """Time of a run's last sign of life; now, if neither heartbeat nor id gives any."""
    return max(run.seen, started_at(run.run) or 0.0) or now
