"""Whether an archive holds everything that its source has: a merge of both in key order.

An object is complete in the archive when a row has its etag, and rejected when a rejection has it.
It is absent when the archive has neither under its key, and outdated when it changed since. In a
copy of the source, and after a restore, all etags may differ: such objects are read, and compared by
SHA-256. Keys that an erasure bars are passed over. A changed object under a key whose original was
deleted by a release is reappeared: no encode takes it, as the row is the only copy.

    source:       a  b  c      e
    rows:         a  b'        e'       c is absent, b is outdated unless its bytes are those of the row
    rejections:                   e     e was rejected as it is now
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.archive.archive import RejectionRow
from pipeline.archive.ledgers.erasures import BarredKeys
from pipeline.archive.schema import OUTAGE
from pipeline.storage.base import Entry, Fetched, FetchFailed

NAMED = 20
"""Keys that are named of each kind; further ones are only counted."""


@dataclass(slots=True)
class SourceTotals:
    """Totals of a comparison, and the first keys of each kind."""

    objects: int = 0
    absent: int = 0
    outdated: int = 0
    reappeared: int = 0
    unknown: int = 0
    same_bytes: int = 0
    unread: int = 0
    absent_keys: tuple[str, ...] = ()
    outdated_keys: tuple[str, ...] = ()
    reappeared_keys: tuple[str, ...] = ()
    unread_keys: tuple[str, ...] = ()
    rejected: int = 0
    rejected_keys: tuple[str, ...] = ()
    excluded: int = 0
    unlisted: dict[str, str] = field(default_factory=dict)


_BATCH_BYTES, _BATCH_OBJECTS = 64 << 20, 64
"""Objects that are read and compared by hash together."""

_MORE_BYTES = 16 << 20
"""Bytes by which an object of unknown size may be larger than the row's source and still be read."""

Fetch = Callable[[Sequence[str], int], Sequence[Fetched | FetchFailed]]
"""Reads objects that are not larger than a number of bytes."""


class SourceComparison:
    """Compares a source with rows that arrive in key order. Memory does not grow with the keys.

    comparison = SourceComparison(source.entries(), archive.rejections_by_key(), hidden)
    for key, etag, size, digest in rows: comparison.row(key, etag, size, digest)
    totals = comparison.end()
    """

    def __init__(
        self,
        entries: Iterator[Entry],
        rejections: Iterator[RejectionRow],
        hidden: "HiddenRanges | None" = None,
        fetch: Fetch | None = None,
        barred: BarredKeys | None = None,
        *,
        released: Collection[str] = frozenset(),
        sizes_are_known: bool = True,
    ) -> None:
        """Nothing is read yet.

        Args:
            entries: the source's listing, in key order.
            rejections: those of the archive, in key order.
            hidden: ranges of keys whose rows cannot be read; objects in them are neither complete
                nor absent.
            fetch: reads objects of the source whose etag differs but not their size; without it,
                they count as outdated.
            barred: keys that may not come back.
            released: keys whose originals were deleted by a release.
            sizes_are_known: whether another size in the listing is another object (`Store`).
        """
        self._fetch, self._barred, self._sizes_are_known = fetch, barred, sizes_are_known
        self._released = released
        self._suspects: list[tuple[Entry, int, str]] = []
        self._entries, self._rejections = entries, rejections
        self._hidden = hidden
        self._entry = next(entries, None)
        self._rejection = next(rejections, None)
        self._totals = SourceTotals()

    def row(self, key: str, etag: str, size: int | None = None, digest: str | None = None) -> None:
        """Take the next row, with size and SHA-256 of its source; a key that is repeated is passed over."""
        self._until(key)
        if self._entry is not None and self._entry.key == key:
            may_be_equal = self._entry.size == size or not self._sizes_are_known
            self._decide(self._entry, etag, size, digest if may_be_equal else None)
            self._entry = next(self._entries, None)

    def end(self) -> SourceTotals:
        """Take the rest of the source. Returns the totals."""
        self._until(None)
        self._compare_bytes()
        return self._totals

    def _until(self, key: str | None) -> None:
        while self._entry is not None and (key is None or self._entry.key < key):
            self._decide(self._entry, None)
            self._entry = next(self._entries, None)

    def _decide(self, entry: Entry, etag: str | None, size: int | None = None, digest: str | None = None) -> None:
        totals = self._totals
        totals.objects += 1
        rejected = self._is_rejected(entry)
        if etag == entry.etag:
            return
        if rejected:
            totals.rejected += 1
            if totals.rejected <= NAMED:
                totals.rejected_keys += (entry.key,)
            return
        if etag is not None and size is not None and digest is not None and self._fetch is not None:
            self._suspects.append((entry, size, digest))
            if len(self._suspects) == _BATCH_OBJECTS or sum(size for _, size, _ in self._suspects) >= _BATCH_BYTES:
                self._compare_bytes()
        elif etag is not None:
            self._outdated(entry.key)
        elif self._barred and entry.key in self._barred:
            return
        elif self._hidden is not None and entry.key in self._hidden:
            totals.unknown += 1
        else:
            totals.absent += 1
            if totals.absent <= NAMED:
                totals.absent_keys += (entry.key,)

    def _outdated(self, key: str) -> None:
        if key in self._released:
            self._totals.reappeared += 1
            if self._totals.reappeared <= NAMED:
                self._totals.reappeared_keys += (key,)
            return
        self._totals.outdated += 1
        if self._totals.outdated <= NAMED:
            self._totals.outdated_keys += (key,)

    def _compare_bytes(self) -> None:
        """Read the objects whose etag differs."""
        suspects, self._suspects = self._suspects, []
        if not suspects or self._fetch is None:
            return
        totals = self._totals
        most = max(size for _, size, _ in suspects) + _MORE_BYTES
        fetched = self._fetch([entry.key for entry, _, _ in suspects], most)
        for (entry, _, digest), got in zip(suspects, fetched, strict=True):
            if isinstance(got, FetchFailed):
                totals.unread += 1
                if totals.unread <= NAMED:
                    totals.unread_keys += (f"{entry.key}: {got.reason}",)
            elif hashlib.sha256(got.data).hexdigest() == digest:
                totals.same_bytes += 1
            else:
                self._outdated(entry.key)

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
