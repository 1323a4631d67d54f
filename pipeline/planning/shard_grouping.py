"""Groups keys by the shard that holds them, with bounded memory.

Changes are found in key order but have to be written shard by shard, and the shards of a grown
archive overlap. SQLite, which is part of Python, sorts the changes in a temporary file.
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

from pipeline.archive.shards.merge_reader import SHARD
from pipeline.storage.base import Entry

_CACHE_KIB = 64 << 10
_CHANGED, _GONE, _STALE = range(3)


@dataclass(frozen=True, slots=True)
class ShardRework:
    """The changes to one shard.

    Attributes:
        shard: its number, as in the column SHARD.
        entries: objects to compress again, in key order.
        gone: keys to remove.
    """

    shard: int
    entries: tuple[Entry, ...]
    gone: tuple[str, ...]


class ReworkByShard:
    """Takes tables in key order and returns their rows shard by shard.

    The `with` block removes the temporary file.

    with ReworkByShard() as rework:
        rework.add_changed(table)                       # and add_gone, add_stale, any number of times
        rework.choose_stale(limit=1000)                 # once, after everything was added
        for shard in rework.required(retire=True): ...
        for shard in rework.optional(): ...             # after `required`

    Attributes:
        folder: where the file is.
    """

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="maepress-plan-")
        self.folder = self._temporary.name
        self._db = sqlite3.connect(Path(self.folder) / "rework.sqlite", isolation_level=None)
        # The file ends with the process, so it need not survive a crash.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}", "temp_store=FILE"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("CREATE TABLE rework (shard INT, kind INT, key TEXT, size INT, etag TEXT, since INT)")
        self._db.execute("CREATE TABLE chosen (shard INT PRIMARY KEY, since INT, most INT)")
        self._db.execute("BEGIN")

    def __enter__(self) -> "ReworkByShard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        self._temporary.cleanup()

    def add_changed(self, objects: pa.Table) -> None:
        """Add objects whose content changed: columns key, size, etag, SHARD."""
        self._add(_CHANGED, objects[SHARD], objects["key"], objects["size"], objects["etag"])

    def add_gone(self, rows: pa.Table) -> None:
        """Add rows whose key is gone: columns key, SHARD."""
        nothing = pa.nulls(rows.num_rows)
        self._add(_GONE, rows[SHARD], rows["key"], nothing, nothing)

    def add_stale(self, objects: pa.Table) -> None:
        """Add objects that may be compressed again: columns key, size, etag, SHARD, encoded_at."""
        since = objects["encoded_at"].cast(pa.int64())
        self._add(_STALE, objects[SHARD], objects["key"], objects["size"], objects["etag"], since)

    def _add(self, kind: int, *columns: Any) -> None:
        shard, key, size, etag, *since = (column.to_pylist() for column in columns)
        rows = zip(shard, [kind] * len(key), key, size, etag, since[0] if since else [None] * len(key), strict=True)
        self._db.executemany("INSERT INTO rework VALUES (?, ?, ?, ?, ?, ?)", rows)

    def choose_stale(self, limit: int | None) -> tuple[int, int]:
        """Choose the stale objects to compress again, up to a limit.

        Whole shards are chosen, in the order of their oldest stale row, so that few shards are
        rewritten. Of the last shard only the first keys may fit.

        Args:
            limit: largest number of objects, None for no limit.

        Returns:
            The number of chosen objects, and their bytes.
        """
        left = limit
        oldest = "SELECT shard, min(since), count(*) FROM rework WHERE kind = ? GROUP BY shard ORDER BY 2, 1"
        oldest_first = self._db.cursor()
        for shard, since, count in oldest_first.execute(oldest, (_STALE,)):
            if left is not None and left <= 0:
                break
            most = count if left is None else min(left, count)
            self._db.execute("INSERT INTO chosen VALUES (?, ?, ?)", (shard, since, most))
            left = None if left is None else left - most
        self._db.execute("CREATE INDEX by_shard ON rework (shard, key)")
        objects = size = 0
        for shard, _, most in self._db.execute("SELECT * FROM chosen"):
            entries = self._stale(shard, most)
            objects, size = objects + len(entries), size + sum(entry.size for entry in entries)
        return objects, size

    def required(self, retire: bool) -> Iterator[ShardRework]:
        """Shards with changed or (with `retire`) gone keys, together with their chosen stale objects.

        Memory holds the keys of one shard at a time.
        """
        rows = self._db.execute(
            "SELECT shard, kind, key, size, etag FROM rework WHERE kind = ? OR kind = ? ORDER BY shard, key",
            (_CHANGED, _GONE if retire else _CHANGED),
        )
        for shard, members in groupby(rows, key=lambda row: int(row[0])):
            found = list(members)
            entries = [Entry(key, size, etag) for _, kind, key, size, etag in found if kind == _CHANGED]
            chosen = self._db.execute("DELETE FROM chosen WHERE shard = ? RETURNING most", (shard,)).fetchone()
            if chosen:
                entries = sorted([*entries, *self._stale(shard, chosen[0])], key=lambda entry: entry.key)
            yield ShardRework(shard, tuple(entries), tuple(key for _, kind, key, _, _ in found if kind == _GONE))

    def optional(self) -> Iterator[ShardRework]:
        """After `required`: the remaining shards with chosen stale objects, oldest first."""
        for shard, most in self._db.execute("SELECT shard, most FROM chosen ORDER BY since, shard"):
            yield ShardRework(shard, tuple(self._stale(shard, most)), ())

    def _stale(self, shard: int, most: int) -> list[Entry]:
        rows = self._db.execute(
            "SELECT key, size, etag FROM rework WHERE shard = ? AND kind = ? ORDER BY key LIMIT ?",
            (shard, _STALE, most),
        )
        return [Entry(*row) for row in rows]
