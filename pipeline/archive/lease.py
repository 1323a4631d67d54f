"""Who may change an archive as a whole: one sync, compaction or restore at a time.

A lease saves work, it does not protect data: commits do that by themselves, whoever makes them. Without it two syncs
would press the same images all night and the slower one would find out at its first commit.

It is a third Delta table, `leases/`, that has no rows: taking, renewing and giving back the lease each write one empty
version whose commit says who holds it until when. Delta's "put if absent" of the next version decides between two that
want it at once, on every store that an archive can be on.

    version 7   {"holder": "20260105T020000-5ac0ffee", "job": "sync", "host": "node-3", "until": 1767580000.0}
    version 8   the same, later: renewed
    version 9   {"until": 0}: given back

A holder that dies does not renew, and its lease ends by itself.
"""

import socket
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import TableNotFoundError

from model.core.errors import MaepressError
from pipeline.archive.delta_table import create_table, open_table
from pipeline.archive.optimistic_commit import commit_with_retry
from pipeline.archive.periodic_thread import PeriodicThread
from pipeline.storage.base import Store

SECONDS = 600.0
"""How long a lease lasts when it is not renewed: what a dead run holds up others at most."""

_ATTEMPTS = 8
_SCHEMA = pa.schema([pa.field("holder", pa.string())])
# Versions serve no history: what is older than a day goes, so that the log stays short.
_TABLE = {"delta.logRetentionDuration": "interval 1 days", "delta.checkpointInterval": "20"}


class LeaseHeld(MaepressError):
    """Another run works on the archive."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lease.

    Attributes:
        run: its name; empty when nobody holds it.
        job: "sync", "compact" ...
        host: the machine it runs on.
        until: seconds since 1970.
    """

    run: str = ""
    job: str = ""
    host: str = ""
    until: float = 0.0


class Lease:
    """Held for the length of a `with` block, and renewed by a thread.

    with Lease(archive.root, run, "sync") as lease:
        ...
        lease.check()        # before each commit
    """

    def __init__(self, root: Store, run: str, job: str, seconds: float = SECONDS) -> None:
        """Args: root: the archive's root. run, job: for the messages. seconds: until it ends when not renewed."""
        self._store, self._url = root.child("leases"), root.url
        self._me = Holder(run, job, socket.gethostname())
        self._seconds = seconds
        self._good_until = 0.0  # by this machine's monotonic clock
        self._renewing = threading.Lock()
        # A renewal that fails is forgiven: `check` says it to the run before its next commit.
        self._renewals = PeriodicThread(lambda: self._write(seconds), seconds / 4, "maepress-lease", MaepressError)

    def __enter__(self) -> "Lease":
        """Take it.

        Raises:
            LeaseHeld: when another run has it.
            StorageError: when the store cannot be written.
        """
        self._write(self._seconds)
        self._renewals.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._renewals.stop()
        try:
            self._write(0.0)
        except MaepressError:  # it is another's by now, or the store is away: either way it ends by itself
            return

    def check(self) -> None:
        """Make sure that it is still ours; costs nothing while the last renewal is fresh.

        Raises:
            LeaseHeld: when another run took over, because this one could not renew in time.
            StorageError: when that cannot be found out.
        """
        if time.monotonic() >= self._good_until:
            self._write(self._seconds)

    def _write(self, seconds: float) -> None:
        """Take, renew or (with 0 seconds) give back."""

        def attempt(table: DeltaTable) -> None:
            asked = time.monotonic()
            held = holder_of(table)
            if held.run not in ("", self._me.run) and held.until > time.time():
                raise LeaseHeld(
                    f"{held.job} {held.run} on {held.host} is at work on {self._url}: let it end; if it is dead, "
                    f"its lease ends at {datetime.fromtimestamp(held.until, UTC):%H:%M:%S} UTC"
                )
            until = str(time.time() + seconds if seconds else 0.0)
            entry = {"holder": self._me.run, "job": self._me.job, "host": self._me.host, "until": until}
            properties = CommitProperties(custom_metadata=entry, max_commit_retries=0)
            table.create_write_transaction([], "append", _SCHEMA, commit_properties=properties)
            self._good_until = asked + seconds

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


def holder_of(table: DeltaTable) -> Holder:
    """What the latest version of the lease's table says."""
    word: dict[str, Any] = table.history(1)[0]
    return Holder(word.get("holder", ""), word.get("job", ""), word.get("host", ""), float(word.get("until", 0.0)))
