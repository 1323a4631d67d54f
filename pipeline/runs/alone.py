"""Of two runs that encode one source into one archive, the later one gives way before it begins.

The commit protects data without this: the slower run would fail at its first commit, after minutes
of work that is lost. Sources with different keys may be encoded into one archive side by side, so a
run gives way only to a run with the same source, which its heartbeat names.

A release deletes originals because of rows, and any encode may replace a row, as another source may have
the same key. So release and encode give way to each other whatever their sources.

A run that was killed leaves its heartbeat. On its own machine it is recognised at once, as its
process is gone; elsewhere after `SILENT_SECONDS`.
"""

import socket
import time
from datetime import UTC, datetime

from pipeline.runs.heartbeat import EVERY_SECONDS, RunFolder, is_running_here, list_runs
from pipeline.runs.lease import SKEW_SECONDS, LeaseHeld
from pipeline.storage.base import Store

SILENT_SECONDS = 2.5 * EVERY_SECONDS
"""Time without a heartbeat after which a run no longer stops others from beginning."""


ERASING = "forget"
"""The job that gives no other run room, whatever its source."""
RELEASING = "release"
"""The job that no encode may work beside, whatever its source."""


def source_name(source: Store) -> str:
    """A source's place as one text, the same for every spelling of its URL."""
    return "/".join(source.place())


def require_alone(root: Store, source: Store, run: str | None = None) -> None:
    """Give way to another run that encodes the same source, to a release and to an erasure; a release to every run.

    A run that has its heartbeat already gives way only to those that began before it, so that of
    two runs that begin at the same time one stays.

    Args:
        root: of the archive, which need not exist.
        source: of this run.
        run: name of this run; None when it has no heartbeat yet.

    Raises:
        LeaseHeld: when another run is at work.
        StorageError: when the archive cannot be read.
    """
    runs = {found.run: found for found in list_runs(root)}
    mine = runs.get(run or "")
    name, now = source_name(source), time.time()
    releases = mine is not None and mine.job == RELEASING
    for other in runs.values():
        concerned = releases or other.source == name or other.job in (ERASING, RELEASING)
        if other is mine or not concerned or not is_at_work(other, now):
            continue
        if mine is None or (other.started, other.run) < (mine.started, mine.run):
            until = datetime.fromtimestamp(other.seen + SILENT_SECONDS, UTC)
            its = source.url if other.source == name else "another source"
            work = "is erasing images from" if other.job == ERASING else f"is encoding {its} into"
            work = f"is releasing objects of {its} from" if other.job == RELEASING else work
            raise LeaseHeld(
                f"{other.job} {other.run} on {other.host} {work} {root.url}: let it end; "
                f"if it is dead, this job can begin at {until:%Y-%m-%d %H:%M:%S} UTC"
            )


def is_at_work(other: RunFolder, now: float) -> bool:
    """Whether a run goes on, as far as its machine and its heartbeat tell.

    Args:
        other: the run.
        now: seconds since 1970.
    """
    if other.host == socket.gethostname() and other.process:
        return is_running_here(other.process)
    return -SKEW_SECONDS <= now - other.seen < SILENT_SECONDS  # a clock that is wrong stops nobody
