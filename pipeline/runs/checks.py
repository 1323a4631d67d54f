"""Records of checks: which shards of an archive were checked when, and what was found.

Each part of a round of checks (`maepress verify --part 3/30`) has one file, `checks/3-of-30.json`,
which its next check replaces. So two jobs that check different parts at once do not meet, and of
two that check the same part the later one's record stays; both are true. A file holds the paths of
the part's shards, some 50 bytes each, and at most `LISTED` problems. A record of whose shards none
has its latest check there, as a round with another number of parts followed, is removed: the
folder's size is bounded by the number of shards.

Like the records of runs, each has a checksum over its entries, in `sha256`.
"""

import contextlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.runs.record import is_sealed, with_checksum
from pipeline.storage.base import Fetched, Store

FOLDER = "checks"
LISTED = 100
"""Problems that a record lists; further ones are only counted."""
_NAME = re.compile(r"\d{1,4}-of-\d{1,4}\.json")
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Damage:
    """A problem that a check found.

    Attributes:
        what: a key, "shard PATH", "model FINGERPRINT" ...
        problem: one line.
        shard: path of the shard that has it; empty for what is not in a shard of images.
    """

    what: str
    problem: str
    shard: str = ""


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """What one check looked at, and what it found.

    Attributes:
        name: of its file.
        started: UTC; everything in `shards` was read after that.
        shards: paths of shards of the images table.
        damaged: those of them that have a problem.
        problems: number of problems.
        listed: the first of them.
    """

    name: str
    started: datetime
    shards: frozenset[str]
    damaged: frozenset[str]
    problems: int
    listed: tuple[Damage, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of the shards of an archive from the records of checks.

    Attributes:
        never: shards that no record names.
        oldest: the earliest of the shards' latest checks, UTC; None when no shard was checked.
        damaged: shards in whose latest check a problem was found.
        problems: the first problems of these shards, and of all else in the latest check.
    """

    never: int
    oldest: datetime | None
    damaged: int
    problems: tuple[Damage, ...]

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON values."""
        return {
            "never": self.never,
            "oldest": None if self.oldest is None else self.oldest.isoformat(),
            "damaged": self.damaged,
            "problems": [{"what": found.what, "problem": found.problem} for found in self.problems],
        }


def write_check(
    root: Store, part: str, started: datetime, shards: Collection[str], problems: Sequence[Damage], count: int
) -> None:
    """Write the record of a check, and remove the records that it makes useless.

    Args:
        root: of the archive.
        part: as "3/30".
        started: UTC, before the first shard was read.
        shards: paths of the shards that were checked.
        problems: that were found; each shard with problems is in at least one of them.
        count: of all problems.

    Raises:
        StorageError: when it cannot be written.
    """
    name = f"{part.replace('/', '-of-')}.json"
    facts = {
        "part": part,
        "started": started.isoformat(timespec="microseconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "shards": sorted(shards),
        "damaged": sorted({found.shard for found in problems if found.shard}),
        "problems": count,
        "listed": [[found.what, found.problem, found.shard] for found in problems[:LISTED]],
    }
    root.put(f"{FOLDER}/{name}", with_checksum(facts))
    records = list(read_checks(root))
    latest = _latest(records)
    useful = {record.name for record in latest.values()} | {name}
    for record in records:
        if record.name not in useful and record.started < started:
            root.delete(f"{FOLDER}/{record.name}")


def read_checks(root: Store) -> Iterator[CheckRecord]:
    """The records of an archive; files that are none, or are damaged, are left out."""
    folder = root.child(FOLDER)
    if not folder.root_exists():
        return
    names = [entry.key for entry in folder.entries() if _NAME.fullmatch(entry.key)]
    for got in folder.fetch(names, _MOST_BYTES):
        if isinstance(got, Fetched) and is_sealed(got.data):
            with contextlib.suppress(LookupError, ValueError, TypeError):
                yield _record(got.key, json.loads(got.data))


def checked(root: Store, shards: Collection[str]) -> Checked:
    """What is known of an archive's shards.

    Args:
        root: of the archive.
        shards: paths of the shards of the images table.
    """
    records = sorted(read_checks(root), key=lambda record: record.started)
    latest = {path: record for path, record in _latest(records).items() if path in set(shards)}
    damaged = {path for path, record in latest.items() if path in record.damaged}
    problems = [
        found
        for record in records
        for found in record.listed
        if (found.shard in damaged and latest[found.shard] is record) or (not found.shard and record is records[-1])
    ]
    times = [record.started for record in latest.values()]
    return Checked(len(shards) - len(latest), min(times, default=None), len(damaged), tuple(problems[:LISTED]))


def problems_with_checks(root: Store) -> Iterator[tuple[str, str]]:
    """Records that are damaged, as (name, problem)."""
    folder = root.child(FOLDER)
    if not folder.root_exists():
        return
    for got in folder.fetch([entry.key for entry in folder.entries() if entry.key.endswith(".json")], _MOST_BYTES):
        if not isinstance(got, Fetched):
            yield f"{FOLDER}/{got.key}", got.reason
        elif not is_sealed(got.data):
            yield f"{FOLDER}/{got.key}", "it is damaged: its checksum does not match; the part's next check replaces it"


def files_with_keys(root: Store) -> list[str]:
    """The files that may name keys: records that list problems, and whatever is no sound record. Names in FOLDER."""
    folder = root.child(FOLDER)
    names = [entry.key for entry in folder.entries()] if folder.root_exists() else []
    without = {record.name for record in read_checks(root) if not record.listed}
    return [name for name in names if name not in without]


def _latest(records: Sequence[CheckRecord]) -> dict[str, CheckRecord]:
    """The latest record of each shard."""
    found: dict[str, CheckRecord] = {}
    for record in sorted(records, key=lambda record: record.started):
        found |= dict.fromkeys(record.shards, record)
    return found


def _record(name: str, facts: dict[str, Any]) -> CheckRecord:
    return CheckRecord(
        name,
        datetime.fromisoformat(facts["started"]),
        frozenset(map(str, facts["shards"])),
        frozenset(map(str, facts["damaged"])),
        int(facts["problems"]),
        tuple(Damage(str(what), str(problem), str(shard)) for what, problem, shard in facts["listed"]),
    )
