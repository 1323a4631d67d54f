"""The lease of an archive: one sync, compaction or restore at a time.

A lease saves work; it does not protect data, which commits do by themselves. Without it, two syncs
would encode the same images all night, and the slower one would fail at its first commit.

The lease is a third Delta table, `leases/`, without rows. Taking, renewing and releasing it each
write one empty version whose commit records the holder and the end of the lease. Delta's "put if
absent" of the next version decides between two runs that want it at once, on every store that can
hold an archive.

    version 7   {"holder": "20260105T020000-123-5ac0ffee", "job": "sync", "host": "node-3",
                 "process": "71 9310", "until": 1767580000.0}
    version 8   the same with a later end: renewed
    version 9   {"until": 0}: released

The lease of a holder that dies is not renewed and expires; on the holder's own machine it ends at once,
as its process is gone. A lease that ends later than any clock could mean is that of a machine whose
clock is wrong: whoever wants it watches whether it is renewed, and takes it if not.
"""

import math
import socket
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import TableNotFoundError

from model.core.errors import MaepressError
from pipeline.archive.log.commit_seal import FilesDigest, sealed
from pipeline.archive.log.delta_table import create_table, open_table
from pipeline.archive.log.optimistic_commit import commit_with_retry
from pipeline.runs.heartbeat import is_running_here, this_process
from pipeline.runs.periodic_thread import Clock, PeriodicThread
from pipeline.storage.base import Store

SECONDS = 600.0
"""Duration of a lease without renewal: the longest time a dead run blocks others."""

_RENEWALS = 4
"""Renewals within the duration of a lease."""
SKEW_SECONDS = 300.0
"""Difference between the clocks of two machines that is taken for normal."""

_ATTEMPTS = 8
_SCHEMA = pa.schema([pa.field("holder", pa.string())])
# Old versions are not needed: they are removed after a day, so that the log stays short.
_TABLE = {"delta.logRetentionDuration": "interval 1 days", "delta.checkpointInterval": "20"}


class LeaseHeld(MaepressError):
    """Another run holds the archive's lease."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a lease.

    Attributes:
        run: name of the run; empty when the lease was never taken.
        job: "sync", "compact" ...
        host: name of its machine.
        process: its process there (`pipeline.runs.heartbeat.this_process`); empty when unknown.
        until: end of the lease, in seconds since 1970; 0 when it was released, infinite when what is
            recorded is no time.
    """

    run: str = ""
    job: str = ""
    host: str = ""
    process: str = ""
    until: float = 0.0

    def is_gone(self) -> bool:
        """Whether the holder ran on this machine and its process has ended."""
        return self.host == socket.gethostname() and self.process != "" and not is_running_here(self.process)


class Lease:
    """A lease, held for the length of a `with` block and renewed by a thread.

    with Lease(archive.root, run, "sync") as lease:
        ...
        lease.check()        # before each commit
    """

    def __init__(self, root: Store, run: str, job: str, seconds: float = SECONDS, clock: Clock | None = None) -> None:
        """Nothing is written before the `with` block.

        Args:
            root: of the archive.
            run: name of the run, for messages.
            job: "sync", "compact" ..., for messages.
            seconds: duration of the lease without renewal.
            clock: measures it; the machine's when not given.
        """
        self._store, self._url = root.child("leases"), root.url
        self._me = Holder(run, job, socket.gethostname(), this_process())
        self._seconds = seconds
        self._clock = clock or Clock()
        self._good_until = 0.0  # on this machine's monotonic clock
        self._taken = False
        self._renewing = threading.Lock()
        # A failed renewal is ignored: `check` raises the error before the run's next commit.
        self._renewals = PeriodicThread(
            lambda: self._write(seconds), seconds / _RENEWALS, "maepress-lease", MaepressError, self._clock
        )

    def __enter__(self) -> "Lease":
        """Take the lease.

        Takes minutes where the lease of another run ends later than any clock could mean.

        Raises:
            LeaseHeld: when another run holds it.
            StorageError: when the store cannot be written.
        """
        self._write(self._seconds, ignored=self._abandoned())
        self._renewals.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._renewals.stop()
        try:
            self._write(0.0)
        except MaepressError:  # taken over by another run, or the store is unreachable: it expires by itself
            return

    def check(self) -> None:
        """Check that this run still holds the lease.

        No request is made before the last renewal has expired.

        Raises:
            LeaseHeld: when another run took over, because this one could not renew in time.
            StorageError: when the store cannot be read or written.
        """
        if self._clock.monotonic() >= self._good_until:
            self._write(self._seconds)

    def _abandoned(self) -> int | None:
        """The version of a lease that ends impossibly late and is not renewed while it is watched; else None."""
        table = self._open()
        held = holder_of(table)
        if held.run in ("", self._me.run) or held.is_gone() or not self._is_impossible(held):
            return None
        self._clock.wait(threading.Event(), 1.5 * SECONDS / _RENEWALS)
        version: int = table.version()
        return version if self._open().version() == version else None

    def _is_impossible(self, held: Holder) -> bool:
        return held.until > self._clock.time() + SECONDS + SKEW_SECONDS

    def _write(self, seconds: float, ignored: int | None = None) -> None:
        """Take, renew or (with 0 seconds) release the lease.

        Args:
            seconds: duration.
            ignored: version of another run's lease that does not count.
        """

        def attempt(table: DeltaTable) -> None:
            asked = self._clock.monotonic()
            held = holder_of(table)
            others = held.run not in ("", self._me.run) and table.version() != ignored
            if others and self._taken:  # also if it has ended since: what this run read before may hold no more
                raise LeaseHeld(
                    f"{held.job} {held.run} on {held.host} took the lease of {self._url} over, as this run was "
                    "silent for too long: run this job again"
                )
            if others and held.until > self._clock.time() and not held.is_gone():
                raise LeaseHeld(
                    f"{held.job} {held.run} on {held.host} is at work on {self._url}: let it end; if it is dead, "
                    + ("run this job again" if self._is_impossible(held) else f"its lease ends at {_shown(held.until)}")
                )
            until = str(self._clock.time() + seconds if seconds else 0.0)
            entry = {"holder": self._me.run, "job": self._me.job, "host": self._me.host, "until": until}
            entry["process"] = self._me.process
            record = sealed(entry, FilesDigest(), table, self._store)
            properties = CommitProperties(custom_metadata=record, max_commit_retries=0)
            table.create_write_transaction([], "append", _SCHEMA, commit_properties=properties)
            self._good_until, self._taken = asked + seconds, True

        with self._renewing:
            commit_with_retry(
                self._open,
                attempt,
                attempts=_ATTEMPTS,
                busy=LeaseHeld(f"others are taking the lease of {self._url} all the time: run this job again"),
                failed=f"the lease at {self._store.url} cannot be written",
            )

    def _open(self) -> DeltaTable:
        try:
            return open_table(self._store)
        except TableNotFoundError:
            create_table(self._store, _SCHEMA, _TABLE)
            return open_table(self._store)


def _shown(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def holder_of(table: DeltaTable) -> Holder:
    """The holder recorded in the latest version of the lease's table."""
    entry: dict[str, Any] = table.history(1)[0]
    try:
        until = float(entry.get("until", 0.0))
    except (TypeError, ValueError):
        until = math.inf
    run, job, host, process = (str(entry.get(name, "")) for name in ("holder", "job", "host", "process"))
    return Holder(run, job, host, process, math.inf if math.isnan(until) else until)
