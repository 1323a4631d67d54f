"""Heartbeats of runs: a small file beside a run's plan, rewritten every few minutes.

    ARCHIVE/plans/RUN/alive.json    {"started": 1767225600.0, "seen": 1767225900.0}      seconds since 1970

A vacuum keeps every file younger than the oldest run that is alive, since that run may not have
committed it yet, and removes the plans of dead runs.
"""

import json
import time
from dataclasses import dataclass
from types import TracebackType

from pipeline.runs.periodic_thread import PeriodicThread
from pipeline.storage.base import StorageError, Store

EVERY_SECONDS = 300.0
ALIVE_SECONDS = 3600.0
"""Time without a heartbeat after which a run counts as dead. It is long, since a mistake costs a
live run its files."""

_FILE = "alive.json"
_LATEST = 1e11
"""Seconds since 1970 that no clock shows."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder below `plans/`.

    Attributes:
        run: name of the run.
        started: seconds since 1970; 0 when unknown.
        seen: time of the last heartbeat, in seconds since 1970; 0 when unknown.
        files: the folder's keys, relative to the archive's root.
    """

    run: str
    started: float
    seen: float
    files: tuple[str, ...]

    def is_alive(self, now: float) -> bool:
        """Whether the last heartbeat is recent; without one, the run has just begun or was killed."""
        return now - self.seen < ALIVE_SECONDS


class Heartbeat:
    """Writes a run's heartbeat for the length of a `with` block."""

    def __init__(self, root: Store, run: str, every: float = EVERY_SECONDS) -> None:
        """Nothing is written before the `with` block.

        Args:
            root: of the archive.
            run: name of the run.
            every: seconds between two heartbeats.
        """
        self._root, self._key = root, f"plans/{run}/{_FILE}"
        self._started = time.time()
        # A failed heartbeat is ignored: if the store stays unreachable, the job itself fails.
        self._thread = PeriodicThread(self._beat, every, "maepress-presence", StorageError)

    def __enter__(self) -> "Heartbeat":
        self._beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.stop()
        try:
            self._root.delete(self._key)
        except StorageError:
            if error is None:
                raise  # otherwise the first error says more; a vacuum will remove the file

    def _beat(self) -> None:
        self._root.put(self._key, json.dumps({"started": self._started, "seen": time.time()}).encode())


def list_runs(root: Store) -> list[RunFolder]:
    """The folders below `plans/`, of live runs and of killed ones."""
    plans = root.child("plans")
    if not plans.root_exists():
        return []
    folders: dict[str, list[str]] = {}
    for entry in plans.entries():
        run, slash, _ = entry.key.partition("/")
        if slash:
            folders.setdefault(run, []).append(f"plans/{entry.key}")
    found = []
    for run, files in sorted(folders.items()):
        started = seen = 0.0
        if f"plans/{run}/{_FILE}" in files:
            try:
                started, seen = _times(root.get(f"plans/{run}/{_FILE}"))
            except StorageError:  # the run has just ended
                continue
        found.append(RunFolder(run, started, seen, tuple(files)))
    return found


def _times(heartbeat: bytes) -> tuple[float, float]:
    """`started` and `seen` of a heartbeat; both 0, as without a heartbeat, where it is not one."""
    try:
        values = json.loads(heartbeat)
        started, seen = float(values["started"]), float(values["seen"])
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return 0.0, 0.0
    return (started, seen) if 0 <= started < _LATEST and 0 <= seen < _LATEST else (0.0, 0.0)  # not so for NaN
