"""Queries of the viewer's pages on an archive's tables: totals, folders, pages of keys, one row.

The table's own query engine answers them from small columns. All answers come from one version; every few seconds the
catalogue checks for a newer one.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from deltalake import DeltaTable, QueryBuilder

from pipeline.archive.archive import Archive
from pipeline.archive.log.delta_table import arrow_table, files_of, open_table, queryable
from pipeline.archive.model_name import named
from pipeline.archive.shards.shard_writer import Shard
from pipeline.duplicates.result import DuplicatesResult
from pipeline.duplicates.run import duplicates
from pipeline.duplicates.settings import DuplicatesSettings
from pipeline.maintain.settings import StatusSettings
from pipeline.maintain.status import ArchiveStatus, open_rejections, status
from pipeline.storage.base import StorageError
from pipeline.storage.error_text import one_line

REFRESH_SECONDS = 5.0
MOST_FOLDERS = 500
MOST_GROUPS = 200
_MOST_FACTS = 20_000
_LAST = "\U0010ffff"
_CARD = "key, status, kept, width, height, source_bytes, payload_bytes, psnr, source_format"
_FACTS = (
    *("key", "etag", "source_bytes", "source_format", "width", "height", "status", "kept", "codec", "model", "target"),
    *("quality", "payload_bytes", "psnr", "ms_ssim", "ssimulacra2", "source_sha256", "encoded_at", "run"),
)
_CONTENT = ("payload", "icc", "exif", "xmp", "skeleton")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sums:
    """Totals of the rows in a folder, or below a prefix.

    Attributes:
        name: next part of the key after the prefix; "" for images directly below it.
        rows: number of images.
        source_bytes: bytes of their sources.
        payload_bytes: bytes of their payloads.
    """

    name: str
    rows: int
    source_bytes: int
    payload_bytes: int

    @property
    def saved(self) -> float:
        """Saved share of the source's bytes, at most 1; below 0 if the payloads are larger."""
        return 1 - self.payload_bytes / self.source_bytes if self.source_bytes else 0.0


@dataclass(eq=False, slots=True)
class _Snapshot:
    """A version of the images table, with cached answers about it."""

    table: DeltaTable
    shards: list[Shard]
    checked: float
    folders: dict[str, list[Sums]] = field(default_factory=dict)
    facts: "OrderedDict[str, Row | None]" = field(default_factory=OrderedDict)


class Catalogue:
    """Answers queries about one archive. Threads may share it."""

    def __init__(self, url: str) -> None:
        """Open the archive.

        Raises:
            MaepressError: when there is none.
        """
        self.archive = Archive.open(url)
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self._now: _Snapshot | None = None
        self._duplicates: DuplicatesResult | None = None
        self._status: tuple[tuple[int, int], ArchiveStatus] | None = None

    def status(self) -> ArchiveStatus:
        """Totals of the whole archive, rejections included."""
        # Counted once per version of both tables: counting a large archive takes long.
        now = (self._snapshot().table.version(), open_table(self.archive.rejections).version())
        with self._counting:
            if self._status is None or self._status[0] != now:
                self._status = (now, status(StatusSettings(archive=self.archive.url, versions=0)))
            return self._status[1]

    def version(self) -> tuple[int, float]:
        """The number of the current version, and its time in seconds since 1970.

        Raises:
            StorageError: when the table cannot be read.
        """
        table = self._snapshot().table
        (entry,) = table.history(1)
        return table.version(), entry["timestamp"] / 1000

    def rejections(self) -> dict[str, str]:
        """Rejected keys, each with "stage: reason"."""
        return open_rejections(self.archive)

    def duplicates(self) -> DuplicatesResult:
        """Images that are there more than once, with the `MOST_GROUPS` groups of each kind that have most to save."""
        version = self._snapshot().table.version()
        with self._counting:  # once per version: it reads small columns of all rows
            if self._duplicates is None or self._duplicates.version < version:
                self._duplicates = duplicates(DuplicatesSettings(archive=self.archive.url, groups=MOST_GROUPS))
            return self._duplicates

    def folders(self, prefix: str) -> list[Sums]:
        """The folders directly below a prefix, by name; at most `MOST_FOLDERS` + 1."""
        now = self._snapshot()
        if prefix not in now.folders:
            rest = f"substr(key, {len(prefix) + 1})"
            name = f"CASE WHEN strpos({rest}, '/') > 0 THEN substr({rest}, 1, strpos({rest}, '/')) ELSE '' END"
            sql = (
                f"SELECT {name} AS name, count(*) AS rows, sum(source_bytes) AS source_bytes, "
                f"sum(payload_bytes) AS payload_bytes FROM images WHERE {_below(prefix)} "
                f"GROUP BY 1 ORDER BY 1 LIMIT {MOST_FOLDERS + 1}"
            )
            now.folders[prefix] = [Sums(**row) for row in _select(now, sql)]
        return now.folders[prefix]

    def page(self, prefix: str, text: str, after: str, count: int) -> list[Row]:
        """Rows in key order, without their payloads.

        Args:
            prefix: start of their keys.
            text: part of their keys, in any case; empty: all.
            after: only keys after this one; empty: all.
            count: largest number of rows.
        """
        where = [_below(prefix)]
        if text:
            where.append(f"strpos(lower(key), {_quoted(text.lower())}) > 0")
        if after:
            where.append(f"key > {_quoted(after)}")
        sql = f"SELECT {_CARD} FROM images WHERE {' AND '.join(where)} ORDER BY key LIMIT {int(count)}"
        return _select(self._snapshot(), sql)

    def facts(self, key: str) -> Row | None:
        """A row without its payload, and `model_title`, its model by name; None if there is no such key."""
        now = self._snapshot()
        with self._lock:
            if key in now.facts:
                now.facts.move_to_end(key)
                return now.facts[key]
        found = self.archive.row(key, _FACTS, now.shards)
        if found is not None and found["model"]:
            found["model_title"] = named(self.archive.model_name(found["model"]), found["model"])
        with self._lock:
            now.facts[key] = found
            while len(now.facts) > _MOST_FACTS:
                now.facts.popitem(last=False)
        return found

    def neighbours(self, key: str) -> tuple[str | None, str | None]:
        """The keys before and after a key, which need not exist; None at either end of the archive."""
        now = self._snapshot()
        # The ends of the nearest other shards bound the search, so that the engine skips all files beyond.
        low = max((shard.last_key for shard in now.shards if shard.last_key < key), default="")
        high = min((shard.first_key for shard in now.shards if shard.first_key > key), default=None)
        below = f"key < {_quoted(key)} AND key >= {_quoted(low)} ORDER BY key DESC"
        above = f"key > {_quoted(key)}" + (f" AND key <= {_quoted(high)}" if high is not None else "") + " ORDER BY key"
        found = [_select(now, f"SELECT key FROM images WHERE {where} LIMIT 1") for where in (below, above)]
        before, after = (rows[0]["key"] if rows else None for rows in found)
        return before, after

    def content(self, key: str) -> Row | None:
        """A row with its payload; None if there is no such key."""
        return self.archive.row(key, (*_FACTS, *_CONTENT), self._snapshot().shards)

    def _snapshot(self) -> _Snapshot:
        with self._lock:
            now = self._now
            if now is not None and time.monotonic() - now.checked < REFRESH_SECONDS:
                return now
            table = self.archive.table()
            if now is None or table.version() != now.table.version():
                files = files_of(table)
                now = self._now = _Snapshot(queryable(self.archive.images, table, files), files, 0.0)
            now.checked = time.monotonic()
            return now


def _select(now: _Snapshot, sql: str) -> list[Row]:
    try:
        # One builder per query: threads cannot share it.
        return arrow_table(QueryBuilder().register("images", now.table).execute(sql)).to_pylist()
    except Exception as e:  # the engine's own, for a shard that is missing or damaged
        raise StorageError(f"{now.table.table_uri} cannot be read: {one_line(e)}") from e


def _below(prefix: str) -> str:
    if not prefix:
        return "true"
    # The range lets the engine skip files by their statistics.
    begins = f"starts_with(key, {_quoted(prefix)})"
    return f"key >= {_quoted(prefix)} AND key <= {_quoted(prefix + _LAST)} AND {begins}"


def _quoted(text: str) -> str:
    """A string literal of standard SQL: only the quote is special, and is doubled."""
    return "'" + text.replace("'", "''") + "'"
