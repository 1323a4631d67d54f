"""Duplicates: a report of the images that an archive holds more than once.

    small columns of all rows --> numbers --> groups --> keys and sizes of the largest groups

Nothing is decoded, and nothing is changed. Memory holds about 120 bytes per row of the archive, and no keys but those
of the groups that are listed.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.archive.archive import Archive
from pipeline.archive.shards.shard_reader import read_columns
from pipeline.archive.shards.shard_writer import Shard
from pipeline.duplicates.facts import Facts
from pipeline.duplicates.groups import Found, Numbers, exact, nearly, spread
from pipeline.duplicates.result import LISTED_IMAGES, Copy, DuplicatesResult, Group
from pipeline.duplicates.settings import DuplicatesSettings

__all__ = ["DuplicatesResult", "DuplicatesSettings", "duplicates"]

_NAMED = tuple(Copy.__dataclass_fields__)
Row = dict[str, Any]


def duplicates(settings: DuplicatesSettings) -> DuplicatesResult:
    """Find the images of an archive that are there more than once.

    Raises:
        MaepressError: in one line, when there is no archive, or a shard cannot be read.
    """
    started = time.monotonic()
    archive = Archive.open(settings.archive)
    version = archive.version()
    shards = archive.shards(version)
    facts = Facts.read(archive, shards)
    found = exact(facts, settings.groups), nearly(facts, settings.distance, settings.groups)
    rows = _rows(archive, shards, [group[:LISTED_IMAGES] for kind in found for group in kind.listed])
    groups = [_groups(kind, facts, rows) for kind in found]
    return DuplicatesResult(
        version=version,
        rows=len(facts.sources),
        without_hash=len(facts.sources) - int(facts.hashed.sum()),
        distance=settings.distance,
        exact=found[0].sums,
        near=found[1].sums,
        exact_groups=groups[0],
        near_groups=groups[1],
        seconds=time.monotonic() - started,
    )


def _groups(kind: Found, facts: Facts, rows: dict[int, Row]) -> tuple[Group, ...]:
    made = []
    for group in kind.listed:
        named = [rows[int(number)] for number in group[:LISTED_IMAGES]]
        named.sort(key=lambda row: (-row["width"] * row["height"], -row["source_bytes"], row["key"]))
        source, payload = (some[group] for some in (facts.source_bytes, facts.payload_bytes))
        saved = (int(source.sum() - source.max()), int(payload.sum() - payload.max()))
        copies = tuple(Copy(*(row[name] for name in _NAMED)) for row in named)
        made.append(Group(len(group), saved[0], saved[1], spread([row["phash"] for row in named]), copies))
    return tuple(made)


def _rows(archive: Archive, shards: Sequence[Shard], groups: Sequence[Numbers]) -> dict[int, Row]:
    """Some rows by their number, read from the shards that hold them."""
    found: dict[int, Row] = {}
    numbers = np.unique(np.concatenate([np.empty(0, np.int64), *groups]))
    before = 0
    for shard in shards:
        begin, end = np.searchsorted(numbers, [before, before + shard.rows])
        if begin < end:
            table = read_columns(archive.images, shard.path, (*_NAMED, "phash"))
            taken = table.take(numbers[begin:end] - before).to_pylist()
            found |= zip(map(int, numbers[begin:end]), taken, strict=True)
        before += shard.rows
    return found
