"""Grouping keys by the shard they live in, however many there are.

What changes in existing shards is found in key order, but has to be worked off shard by shard, and shards overlap once
an archive has grown. SQLite sorts it in a temporary file, so memory stays small; it is part of Python.
"""

import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from pipeline.archive.merge_reader import SHARD
from pipeline.storage.base import Entry

_CACHE_KIB = 64 << 10
_CHANGED, _GONE, _STALE = range(3)


@dataclass(frozen=True, slots=True)
class Rework:
    """What is to be done in one shard.

    Attributes:
        shard: its number, as in the column SHARD.
        entries: objects to press again, in key order.
        gone: keys to drop.
    """

    shard: int
    entries: tuple[Entry, ...]
    gone: tuple[str, ...]


class ByShard:
    """Tables put in by key, taken out by shard. Lives as long as its `with` block; the file goes with it.

    with ByShard() as again:
        again.add_changed(table)
        again.choose_stale(limit=1000)
        for rework in again.due(retire=True): ...
        for rework in again.spare(): ...
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="maepress-plan-")
        self._db = sqlite3.connect(Path(self._folder.name) / "again.sqlite", isolation_level=None)
        # Nothing here outlives the process, so nothing needs to survive a crash.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}", "temp_store=FILE"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("CREATE TABLE again (shard INT, kind INT, key TEXT, size INT, etag TEXT, since INT)")
        self._db.execute("CREATE TABLE chosen (shard INT PRIMARY KEY, since INT, most INT)")
        self._db.execute("BEGIN")

    def __enter__(self) -> "ByShard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        self._folder.cleanup()

    def add_changed(self, objects: pa.Table) -> None:
        """Put in objects whose content changed: columns key, size, etag, SHARD."""
        self._add(_CHANGED, objects[SHARD], objects["key"], objects["size"], objects["etag"])

    def add_gone(self, rows: pa.Table) -> None:
        """Put in rows whose key is gone: columns key, SHARD."""
        nothing = pa.nulls(rows.num_rows)
        self._add(_GONE, rows[SHARD], rows["key"], nothing, nothing)

    def add_stale(self, objects: pa.Table) -> None:
        """Put in objects that may be pressed again: columns key, size, etag, SHARD, encoded_at."""
        since = objects["encoded_at"].cast(pa.int64())
        self._add(_STALE, objects[SHARD], objects["key"], objects["size"], objects["etag"], since)

    def _add(self, kind: int, *columns: Any) -> None:
        shard, key, size, etag, *since = (column.to_pylist() for column in columns)
        rows = zip(shard, [kind] * len(key), key, size, etag, since[0] if since else [None] * len(key), strict=True)
        self._db.executemany("INSERT INTO again VALUES (?, ?, ?, ?, ?, ?)", rows)

    def choose_stale(self, limit: int | None) -> tuple[int, int]:
        """Decide which stale objects are pressed again; the others are forgotten.

        Shards are taken in the order of their oldest stale row, each as a whole, so that few shards are rewritten. Of
        the one that the limit cuts, the first keys.

        Args:
            limit: objects at most, None for all of them.

        Returns:
            How many objects were chosen, and their bytes.
        """
        left = limit
        oldest = "SELECT shard, min(since), count(*) FROM again WHERE kind = ? GROUP BY shard ORDER BY 2, 1"
        with_budget = self._db.cursor()
        for shard, since, count in with_budget.execute(oldest, (_STALE,)):
            if left is not None and left <= 0:
                break
            most = count if left is None else min(left, count)
            self._db.execute("INSERT INTO chosen VALUES (?, ?, ?)", (shard, since, most))
            left = None if left is None else left - most
        self._db.execute("CREATE INDEX by_shard ON again (shard, key)")
        objects = size = 0
        for shard, _, most in self._db.execute("SELECT * FROM chosen"):
            entries = self._stale(shard, most)
            objects, size = objects + len(entries), size + sum(entry.size for entry in entries)
        return objects, size

    def due(self, retire: bool) -> Iterator[Rework]:
        """Shards in which something changed or (with `retire`) is gone, with their stale objects if these were chosen.

        Holds one shard's keys at a time.
        """
        rows = self._db.execute(
            "SELECT shard, kind, key, size, etag FROM again WHERE kind = ? OR kind = ? ORDER BY shard, key",
            (_CHANGED, _GONE if retire else _CHANGED),
        )
        for shard, members in groupby(rows, key=lambda row: int(row[0])):
            found = list(members)
            entries = [Entry(key, size, etag) for _, kind, key, size, etag in found if kind == _CHANGED]
            chosen = self._db.execute("DELETE FROM chosen WHERE shard = ? RETURNING most", (shard,)).fetchone()
            if chosen:
                entries = sorted([*entries, *self._stale(shard, chosen[0])], key=lambda entry: entry.key)
            yield Rework(shard, tuple(entries), tuple(key for _, kind, key, _, _ in found if kind == _GONE))

    def spare(self) -> Iterator[Rework]:
        """After `due`: the other shards with stale objects that were chosen, oldest first."""
        for shard, most in self._db.execute("SELECT shard, most FROM chosen ORDER BY since, shard"):
            yield Rework(shard, tuple(self._stale(shard, most)), ())

    def _stale(self, shard: int, most: int) -> list[Entry]:
        rows = self._db.execute(
            "SELECT key, size, etag FROM again WHERE shard = ? AND kind = ? ORDER BY key LIMIT ?", (shard, _STALE, most)
        )
        return [Entry(*row) for row in rows]
