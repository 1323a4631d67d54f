"""Grouping keys by the shard they live in, however many there are.

Keys to press again are found in key order, but have to be worked off shard by shard, and shards overlap once an archive
has grown. SQLite sorts them in a temporary file, so memory stays small; it is part of Python.
"""

import sqlite3
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from types import TracebackType

from pipeline.store import Entry

_CACHE_KIB = 64 << 10


class ByShard:
    """Entries put in by key, taken out by shard. Lives as long as its `with` block; the file goes with it.

    with ByShard() as again:
        again.add("part-1.parquet", entry)
        for shard, entries in again.groups(): ...
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="maepress-plan-")
        self._db = sqlite3.connect(Path(self._folder.name) / "again.sqlite", isolation_level=None)
        # Nothing here outlives the process, so nothing needs to survive a crash.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("CREATE TABLE again (shard TEXT, key TEXT, size INTEGER, etag TEXT)")
        self._db.execute("BEGIN")

    def __enter__(self) -> "ByShard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        self._folder.cleanup()

    def add(self, shard: str, entry: Entry) -> None:
        """Put in one entry of a shard."""
        self._db.execute("INSERT INTO again VALUES (?, ?, ?, ?)", (shard, entry.key, entry.size, entry.etag))

    def groups(self) -> Iterator[tuple[str, list[Entry]]]:
        """Each shard once, with its entries in key order; holds one shard's entries at a time."""
        rows = self._db.execute("SELECT shard, key, size, etag FROM again ORDER BY shard, key")
        for shard, members in groupby(rows, key=lambda row: str(row[0])):
            yield shard, [Entry(key, size, etag) for _, key, size, etag in members]
