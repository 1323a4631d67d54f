"""Of two runs that encode one source into one archive, the later one gives way before it begins.

The commit protects data without this: the slower run would fail at its first commit, after minutes
of work that is lost. Sources with different keys may be encoded into one archive side by side, so a
run gives way only to a run with the same source, which its heartbeat names.

A release deletes originals because of rows, and any encode may replace a row, as another source may have
the same key. So release and encode give way to each other whatever their sources.

A check adds no row, but what it writes names keys, and a repair brings files back. So check and erasure give way to
each other, and to nobody else.

A run that was killed leaves its heartbeat. On its own machine it is recognised at once, as its
process is gone; elsewhere after `SILENT_SECONDS`.
"""

import contextlib
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from pipeline.runs.heartbeat import EVERY_SECONDS, Heartbeat, RunFolder, is_running_here, list_runs
from pipeline.runs.lease import SKEW_SECONDS, LeaseHeld
from pipeline.storage.base import Store

SILENT_SECONDS = 2.5 * EVERY_SECONDS
"""Time without a heartbeat after which a run no longer stops others from beginning."""


ERASING = "forget"
"""The job that gives no other run room, whatever its source."""
RELEASING = "release"
"""The job that no encode may work beside, whatever its source."""
CHECKING = "check"
"""The job of a check that writes what it found, or mends."""


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
        concerned = (releases and other.job != CHECKING) or other.source == name or other.job in (ERASING, RELEASING)
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


@contextlib.contextmanager
def checking(root: Store, run: str) -> Iterator[None]:
    """While a check that writes goes on: an erasure waits for it.

    Args:
        root: of the archive.
        run: name of this run.

    Raises:
        LeaseHeld: when an erasure is at work.
        StorageError: when the archive cannot be read or written.
    """
    with Heartbeat(root, run, CHECKING):
        now = time.time()
        for other in list_runs(root):
            if other.job == ERASING and is_at_work(other, now):
                raise LeaseHeld(
                    f"{other.job} {other.run} on {other.host} is erasing images from {root.url}: let it end, then check"
                )
        yield


def is_at_work(other: RunFolder, now: float) -> bool:
    """Whether a run goes on, as far as its machine and its heartbeat tell.

    Args:
        other: the run.
        now: seconds since 1970.
    """
    if other.host == socket.gethostname() and other.process:
        return is_running_here(other.process)
    return -SKEW_SECONDS <= now - other.seen < SILENT_SECONDS  # a clock that is wrong stops nobody
