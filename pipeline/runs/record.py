"""Records of runs: one small JSON file per finished run, `ARCHIVE/runs/RUN.json`.

    with RunRecord(archive.root, run, "encode", settings) as record:
        ...
        record.done(result.to_dict())      # without this call, the run counts as failed

The tables' log shows what was committed. A record holds the run's settings, the versions of the
software, its duration, the archive's version at its end, and how it ended: with success, with an
error, or interrupted. Its entry `sha256` is a checksum over the others.
`maepress status --runs` shows the records. A killed run leaves none.
"""

import hashlib
import json
import platform
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any

from deltalake.exceptions import TableNotFoundError
from pydantic import BaseModel

from pipeline.archive.log.delta_table import open_table
from pipeline.storage.base import Fetched, StorageError, Store

FOLDER = "runs"
DONE, FAILED, INTERRUPTED = "done", "failed", "interrupted"
_MOST_BYTES = 16 << 20
_CHECKSUM = "sha256"
_PACKAGES = ("maepress", "ray", "torch", "deltalake", "pyarrow")


class RunRecord:
    """Writes a run's record when the `with` block ends."""

    def __init__(self, root: Store, run: str, job: str, settings: BaseModel) -> None:
        """Start the clock; nothing is written yet.

        Args:
            root: of the archive.
            run: name of the run.
            job: "encode" or "sync".
            settings: of the run. They contain no credentials, since URLs with credentials are
                refused.
        """
        self._root, self._run, self._clock = root, run, time.monotonic()
        self._facts: dict[str, Any] = {
            "run": run,
            "job": job,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": platform.node(),
            "versions": {name: _version(name) for name in _PACKAGES},
            "settings": settings.model_dump(mode="json"),
        }
        self._result: Mapping[str, object] | None = None

    def __enter__(self) -> "RunRecord":
        return self

    def done(self, result: Mapping[str, object]) -> None:
        """Record that the run succeeded, and its result."""
        self._result = result

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = DONE if self._result is not None else INTERRUPTED if kind is KeyboardInterrupt else FAILED
        self._facts |= {
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self._clock, 3),
            "outcome": ended,
            "error": None if error is None else f"{type(error).__name__}: {' '.join(str(error).split())[:500]}",
            "archive_version": _archive_version(self._root),
            "result": self._result,
        }
        try:
            self._root.put(f"{FOLDER}/{self._run}.json", with_checksum(self._facts))
        except StorageError:
            if error is None:  # otherwise the run's own error comes first; often it is the same outage
                raise


def latest_records(root: Store, count: int) -> list[dict[str, Any]]:
    """The records of the latest runs, latest first; files that are not records are left out.

    Args:
        root: of the archive.
        count: largest number of records.
    """
    folder = root.child(FOLDER)
    if not count or not folder.root_exists():
        return []
    names = deque((entry.key for entry in folder.entries() if entry.key.endswith(".json")), maxlen=count)
    found = []
    for got in folder.fetch(list(names), _MOST_BYTES):
        try:
            facts = json.loads(got.data) if isinstance(got, Fetched) else None
        except (ValueError, RecursionError):
            continue
        if isinstance(facts, dict) and "run" in facts:
            found.append(facts)
    return found[::-1]


def problem_with_record(data: bytes, latest: int) -> str | None:
    """What is wrong with a run's record, in one line; None if nothing.

    Args:
        data: the file.
        latest: present version of the images table, which cannot be below the recorded one.
    """
    if not is_sealed(data):
        return "it is damaged: its checksum does not match"
    recorded = json.loads(data).get("archive_version")
    if isinstance(recorded, int) and recorded > latest:
        return f"at its end the archive was at version {recorded}, now it is at {latest}: later commits are missing"
    return None


def is_sealed(data: bytes) -> bool:
    """Whether a file is what `with_checksum` wrote."""
    try:
        facts = json.loads(data)
        return bool(json.loads(with_checksum({name: facts[name] for name in facts if name != _CHECKSUM})) == facts)
    except (ValueError, RecursionError, TypeError, AttributeError):
        return False


def with_checksum(facts: Mapping[str, object]) -> bytes:
    """Facts as a JSON file, with a checksum over all of them in `sha256`; an earlier one is replaced."""
    plain = {name: value for name, value in json.loads(json.dumps(facts, default=str)).items() if name != _CHECKSUM}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return json.dumps(plain | {_CHECKSUM: digest}, indent=2).encode()


def _archive_version(root: Store) -> int | None:
    """The version of the images table; None when it cannot be read."""
    try:
        return open_table(root.child("images")).version()
    except (StorageError, TableNotFoundError):
        return None


def _version(package: str) -> str:
    """A package's version, or None: a job that runs from a folder has no installed maepress."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
