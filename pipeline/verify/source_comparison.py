"""Whether an archive holds everything that its source has: a merge of both in key order.

An object is complete in the archive when a row or a rejection has its etag. It is absent when the
archive has neither under its key, and outdated when it changed since.

    source:       a  b  c      e
    rows:         a  b'        e'       c is absent, b is outdated
    rejections:                   e     e was rejected as it is now
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.archive.archive import RejectionRow
from pipeline.archive.schema import OUTAGE
from pipeline.storage.base import Entry

NAMED = 20
"""Keys that are named of each kind; further ones are only counted."""


@dataclass(slots=True)
class SourceTotals:
    """Totals of a comparison, and the first keys of each kind."""

    objects: int = 0
    absent: int = 0
    outdated: int = 0
    unknown: int = 0
    absent_keys: tuple[str, ...] = ()
    outdated_keys: tuple[str, ...] = ()


class SourceComparison:
    """Compares a source with rows that arrive in key order. Memory does not grow with the keys.

    comparison = SourceComparison(source.entries(), archive.rejections_by_key(), hidden)
    for key, etag in rows: comparison.row(key, etag)
    totals = comparison.end()
    """

    def __init__(
        self, entries: Iterator[Entry], rejections: Iterator[RejectionRow], hidden: "HiddenRanges | None" = None
    ) -> None:
        """Nothing is read yet.

        Args:
            entries: the source's listing, in key order.
            rejections: those of the archive, in key order.
            hidden: ranges of keys whose rows cannot be read; objects in them are neither complete
                nor absent.
        """
        self._entries, self._rejections = entries, rejections
        self._hidden = hidden
        self._entry = next(entries, None)
        self._rejection = next(rejections, None)
        self._totals = SourceTotals()

    def row(self, key: str, etag: str) -> None:
        """Take the next row; a key that is repeated is passed over."""
        self._until(key)
        if self._entry is not None and self._entry.key == key:
            self._decide(self._entry, etag)
            self._entry = next(self._entries, None)

    def end(self) -> SourceTotals:
        """Take the rest of the source. Returns the totals."""
        self._until(None)
        return self._totals

    def _until(self, key: str | None) -> None:
        while self._entry is not None and (key is None or self._entry.key < key):
            self._decide(self._entry, None)
            self._entry = next(self._entries, None)

    def _decide(self, entry: Entry, etag: str | None) -> None:
        totals = self._totals
        totals.objects += 1
        if self._is_rejected(entry) or etag == entry.etag:
            return
        if etag is not None:
            totals.outdated += 1
            if totals.outdated <= NAMED:
                totals.outdated_keys += (entry.key,)
        elif self._hidden is not None and entry.key in self._hidden:
            totals.unknown += 1
        else:
            totals.absent += 1
            if totals.absent <= NAMED:
                totals.absent_keys += (entry.key,)

    def _is_rejected(self, entry: Entry) -> bool:
        """Whether the object was rejected as it is now; an outage is no verdict."""
        found = False
        while self._rejection is not None and self._rejection.key <= entry.key:
            same = (self._rejection.key, self._rejection.etag) == (entry.key, entry.etag)
            found = found or (same and self._rejection.stage != OUTAGE)
            self._rejection = next(self._rejections, None)
        return found


class HiddenRanges:
    """The key ranges of shards that cannot be read, which are found while reading goes on."""

    def __init__(self, ranges: dict[str, tuple[str, str]], unreadable: set[str]) -> None:
        """Args: ranges: first and last key of every shard, by path. unreadable: paths, growing."""
        self._ranges, self._unreadable = ranges, unreadable

    def __contains__(self, key: str) -> bool:
        return any(first <= key <= last for first, last in map(self._ranges.__getitem__, self._unreadable))
