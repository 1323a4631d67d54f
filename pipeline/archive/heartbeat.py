"""How others see that a run is alive: a small file beside its plan, written anew every few minutes.

    ARCHIVE/plans/RUN/alive.json    {"started": 1767225600.0, "seen": 1767225900.0}      seconds since 1970

A vacuum spares every file younger than the oldest run that is alive, because that run may not have committed it yet,
and removes the plans of runs that are not.
"""

import json
import time
from dataclasses import dataclass
from types import TracebackType

from pipeline.archive.periodic_thread import PeriodicThread
from pipeline.storage.base import StorageError, Store

EVERY_SECONDS = 300.0
ALIVE_SECONDS = 3600.0
"""Silence after which a run counts as dead. It is long, as the price of an error is files of a run that works."""

_FILE = "alive.json"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder below `plans/`.

    Attributes:
        run: its name.
        started: seconds since 1970; 0 when unknown.
        seen: when it last said that it is alive; 0 when unknown.
        files: the folder's keys, relative to the archive's root.
    """

    run: str
    started: float
    seen: float
    files: tuple[str, ...]

    def is_alive(self, now: float) -> bool:
        """Whether it spoke lately; a folder without a word is a run that has just begun, or remains of one."""
        return now - self.seen < ALIVE_SECONDS


class Heartbeat:
    """Says for the length of a `with` block that a run is alive."""

    def __init__(self, root: Store, run: str, every: float = EVERY_SECONDS) -> None:
        """Args: root: the archive's root. run: the run's name. every: seconds between two words."""
        self._root, self._key = root, f"plans/{run}/{_FILE}"
        self._started = time.time()
        # A word that fails is forgiven: the store is away, and the job itself notices if that lasts.
        self._words = PeriodicThread(self._say, every, "maepress-presence", StorageError)

    def __enter__(self) -> "Heartbeat":
        self._say()
        self._words.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._words.stop()
        try:
            self._root.delete(self._key)
        except StorageError:
            if error is None:
                raise  # else the error on its way says more; a vacuum removes the file one day

    def _say(self) -> None:
        self._root.put(self._key, json.dumps({"started": self._started, "seen": time.time()}).encode())


def list_runs(root: Store) -> list[RunFolder]:
    """The folders below `plans/`, of runs that work and of runs that were killed."""
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
        words = {"started": 0.0, "seen": 0.0}
        if f"plans/{run}/{_FILE}" in files:
            try:
                words |= json.loads(root.get(f"plans/{run}/{_FILE}"))
            except StorageError:  # it ended while we looked
                continue
        found.append(RunFolder(run, float(words["started"]), float(words["seen"]), tuple(files)))
    return found
