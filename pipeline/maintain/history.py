"""History: what each commit of an archive did."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pipeline.archive.archive import Archive
from pipeline.archive.log.commit_seal import time_of
from pipeline.maintain.settings import HistorySettings

__all__ = ["HistoryEntry", "HistorySettings", "history"]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One commit of the images table, with the job behind it.

    Attributes:
        version: its number; `maepress restore` takes it.
        time: of the commit, UTC.
        job: "encode", "sync", "compact" or "restore to N"; Delta's name of the operation for
            commits of other tools.
        run: the run that committed, None for commits of other tools.
        rows: rows that the commit wrote, None where that is unknown.
        retired: rows removed because their source is gone, None where that is unknown.
        payload_bytes: of `rows`, None where that is unknown.
    """

    version: int
    time: datetime
    job: str
    run: str | None
    rows: int | None
    retired: int | None
    payload_bytes: int | None

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON values."""
        return asdict(self) | {"time": self.time.isoformat()}


def history(settings: HistorySettings) -> list[HistoryEntry]:
    """The latest commits of an archive, latest first.

    Raises:
        MaepressError: in one line, when there is no archive.
    """
    table = Archive.open(settings.archive).table()
    return [_entry(commit) for commit in table.history(settings.versions)]


def _entry(commit: dict[str, Any]) -> HistoryEntry:
    restored = commit.get("restored")
    job = f"restore to {restored}" if restored is not None else commit.get("job") or commit["operation"].lower()
    return HistoryEntry(
        commit["version"],
        time_of(commit),
        job,
        commit.get("run"),
        commit.get("rows"),
        commit.get("retired"),
        commit.get("payloadBytes"),
    )
