"""Listing in key order, whatever order a store lists in.

Planning merges the listing with the archive, so both must be in byte order of the whole key (which
is also Python's order of `str`). A tree walk has another order: it visits folder `a` before file
`a-b`, but the key `a/x` sorts after `a-b`, because "-" sorts before "/". Amazon S3 and MinIO list
whole keys in byte order; file systems, and S3 servers built on one (SeaweedFS), list in tree order.
Two functions handle both:

- `walk` lists folder by folder and sorts a folder `a` as `a/`; it holds one page per level of
  depth.
- `check_order` passes a sorted stream on and refuses any other.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipeline.storage.base import Entry, NotListed, StorageError, Unlistable
from pipeline.storage.listing.temporary_names import is_temporary

AHEAD = 16
"""Folders per level that a walk announces before it lists them."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of one folder's listing.

    Attributes:
        files: objects of this folder, with their whole keys; may include all objects of a
            sub-folder, which then is not in `folders`.
        folders: prefixes of its sub-folders: whole keys that end with "/".
    """

    files: list[Entry]
    folders: list[str]


def walk(
    pages: Callable[[str], Iterable[Page]],
    prefix: str = "",
    expect: Callable[[str], None] | None = None,
    unlisted: NotListed | None = None,
) -> Iterator[Entry]:
    """Every entry below a prefix in byte order, but for temporary files of maepress' own.

    Args:
        pages: lists one folder, given its prefix ("" or ending with "/"). Its pages must follow
            each other in byte order of the names, with or without the "/" of folders; the order
            inside a page does not matter.
        prefix: of the folder to begin with.
        expect: called with the next AHEAD folders of every level some time before they are listed,
            at most once per folder.
        unlisted: see `Store.entries`.

    Yields:
        Entries in strictly rising order of key.
    """
    held: list[tuple[str, int, Entry | None]] = []  # a heap of keys; None marks a folder; the number breaks ties
    numbers = itertools.count()
    upcoming = _Upcoming(expect)
    for page in itertools.chain(_listed(pages, prefix, unlisted), (None,)):  # None: nothing follows
        bound = None
        if page is not None:
            for entry in page.files:
                heapq.heappush(held, (entry.key, next(numbers), entry))
            for folder in page.folders:
                heapq.heappush(held, (folder, next(numbers), None))
            upcoming.add(page.folders)
            # Later pages have names above every name of this page. But a folder's key may be above
            # a later name (`a/` above `a-b`): hold it.
            bound = max((key if found else key.removesuffix("/") for key, _, found in held), default="")
        while held and (bound is None or held[0][0] <= bound):
            key, _, found = heapq.heappop(held)
            if found is None:
                upcoming.reached(key)
                yield from walk(pages, key, expect, unlisted)
            elif not is_temporary(key):
                yield found


def _listed(pages: Callable[[str], Iterable[Page]], prefix: str, unlisted: NotListed | None) -> Iterator[Page]:
    """The pages of a folder; those before the failure where it cannot be listed to its end."""
    try:
        yield from pages(prefix)
    except Unlistable as e:
        if unlisted is None or not prefix:
            raise
        unlisted(prefix, e.message)


class _Upcoming:
    """The sub-folders of a folder that were not reached yet; announces the next ones."""

    def __init__(self, expect: Callable[[str], None] | None) -> None:
        self._expect = expect
        self._later: list[str] = []  # a heap
        self._announced: set[str] = set()

    def add(self, folders: Iterable[str]) -> None:
        if self._expect is not None:
            for folder in folders:
                heapq.heappush(self._later, folder)
            self._announce(self._expect)

    def reached(self, folder: str) -> None:
        if self._expect is not None:
            self._announced.discard(folder)
            while self._later and self._later[0] <= folder:  # reached before it was announced
                heapq.heappop(self._later)
            self._announce(self._expect)

    def _announce(self, expect: Callable[[str], None]) -> None:
        while self._later and len(self._announced) < AHEAD:
            folder = heapq.heappop(self._later)
            self._announced.add(folder)
            expect(folder)


def check_order(entries: Iterable[Entry], url: str) -> Iterator[Entry]:
    """The same entries, checked while they pass.

    Raises:
        StorageError: at the first key that is not above the one before it; planning from such a
            list would lose keys.
    """
    last = None
    for entry in entries:
        if last is not None and entry.key <= last:
            raise StorageError(
                f"{url} lists {entry.key!r} after {last!r}, not in key order: maepress cannot plan from such a store"
            )
        last = entry.key
        yield entry
