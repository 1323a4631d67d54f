"""Heartbeats of runs: a small file beside a run's plan, rewritten every minute.

    ARCHIVE/plans/RUN/alive.json    {"started": 1767225600.0, "seen": 1767225900.0,      seconds since 1970
                                     "job": "encode", "source": "s3/photos", "host": "node-3", "process": "71 9310"}

A vacuum keeps every file younger than the oldest run that is alive, since that run may not have
committed it yet, and removes the plans of dead runs.

A run whose source another run is encoding into the same archive gives way before it begins: both
would do the same work, and the slower one would fail at its first commit (`pipeline.runs.alone`).
"""

import json
import os
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from pipeline.runs.periodic_thread import PeriodicThread
from pipeline.storage.base import StorageError, Store

EVERY_SECONDS = 60.0
ALIVE_SECONDS = 3600.0
"""Time without a heartbeat after which a run counts as dead. It is long, since a mistake costs a
live run its files."""

_FILE = "alive.json"
_PROCESS = re.compile(r"([1-9][0-9]{0,9})( [0-9]{1,20})?")
_MOST_BYTES = 1 << 20
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
        job: "encode" or "sync"; empty when unknown.
        source: place of its source, as one text; empty when unknown.
        host: name of its machine; empty when unknown.
        process: its process there (see `this_process`); empty when unknown.
    """

    run: str
    started: float
    seen: float
    files: tuple[str, ...]
    job: str = ""
    source: str = ""
    host: str = ""
    process: str = ""

    def is_alive(self, now: float) -> bool:
        """Whether the last heartbeat is recent; without one, the run has just begun or was killed."""
        return now - self.seen < ALIVE_SECONDS


class Heartbeat:
    """Writes a run's heartbeat for the length of a `with` block."""

    def __init__(self, root: Store, run: str, job: str = "", source: str = "", every: float = EVERY_SECONDS) -> None:
        """Nothing is written before the `with` block.

        Args:
            root: of the archive.
            run: name of the run.
            job: "encode" or "sync".
            source: place of its source, as one text.
            every: seconds between two heartbeats.
        """
        self._root, self._key = root, f"plans/{run}/{_FILE}"
        self._facts: dict[str, object] = {"started": time.time(), "job": job, "source": source}
        self._facts |= {"host": socket.gethostname(), "process": this_process()}
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
        self._root.put(self._key, json.dumps(self._facts | {"seen": time.time()}).encode())


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
        facts = _Facts()
        if f"plans/{run}/{_FILE}" in files:
            try:
                facts = _facts(root.get(f"plans/{run}/{_FILE}", _MOST_BYTES))
            except StorageError:  # the run has just ended
                continue
        found.append(RunFolder(run, *facts[:2], tuple(files), *facts[2:]))
    return found


class _Facts(NamedTuple):
    """What a heartbeat says; without one, or where it is none, nothing."""

    started: float = 0.0
    seen: float = 0.0
    job: str = ""
    source: str = ""
    host: str = ""
    process: str = ""


def _facts(heartbeat: bytes) -> _Facts:
    try:
        values = json.loads(heartbeat)
        started, seen = float(values["started"]), float(values["seen"])
        words = [str(values.get(name, "")) for name in _Facts._fields[2:]]
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError, AttributeError):
        return _Facts()
    if not (0 <= started < _LATEST and 0 <= seen < _LATEST):  # not so for NaN
        return _Facts()
    return _Facts(started, seen, *words)


def this_process() -> str:
    """This process, as "PID" or, on Linux, "PID START": a later process with the same PID has another start."""
    return _process(os.getpid())


def _process(pid: int) -> str:
    try:
        facts = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return str(pid)
    state, *rest = facts.rpartition(")")[2].split()
    return str(pid) if state in "ZX" else f"{pid} {rest[18]}"  # a killed one that nobody has waited for has ended


def is_running_here(process: str) -> bool:
    """Whether a process of this machine, as `this_process` names it, is still there.

    Any text is answered: what is no name of a process is not running.
    """
    match = _PROCESS.fullmatch(process)
    if match is None:
        return False
    pid = int(match[1])
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        pass
    return _process(pid) == process
