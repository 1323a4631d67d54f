"""Key order, whatever order a store lists in.

Planning merges the listing with the archive, so both must come in byte order of the whole key (which is also Python's
order of `str`). Folders get in the way: a tree walk visits folder `a` before file `a-b`, but the key `a/x` sorts
after `a-b`, because "-" sorts before "/". Amazon S3 and MinIO list whole keys in byte order; file systems, and S3
servers that stand on one (SeaweedFS), list in tree order. Two tools put that right:

- `walk`: goes folder by folder, with a folder standing in its parent's order as `a/`; it holds one page of a folder
  at a time.
- `check_order`: lets an already sorted stream pass and refuses one that is not.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipeline.storage.base import Entry, StorageError

AHEAD = 16
"""Folders of one level that a walk expects to list soon."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of one folder's listing.

    Attributes:
        files: objects of this folder, with their whole keys; may hold those of whole sub-folders, which then are not in
            `folders`.
        folders: prefixes of its sub-folders: whole keys that end with "/".
    """

    files: list[Entry]
    folders: list[str]


def walk(
    pages: Callable[[str], Iterable[Page]], prefix: str = "", expect: Callable[[str], None] | None = None
) -> Iterator[Entry]:
    """Every entry below a prefix in byte order.

    Args:
        pages: lists one folder, given its prefix ("" or ending with "/"). Its pages must follow each other in byte
            order of the names, folders with or without their "/" counted; inside a page any order will do.
        prefix: where to begin.
        expect: told the next AHEAD folders of every level some time before they are listed, each at most once.

    Yields:
        Entries in strictly rising order of key.
    """
    held: list[tuple[str, int, Entry | None]] = []  # a heap of keys, None marks a folder; the number settles ties
    numbers = itertools.count()
    coming = _Coming(expect)
    for page in itertools.chain(pages(prefix), (None,)):  # None: nothing follows
        bound = None
        if page is not None:
            for entry in page.files:
                heapq.heappush(held, (entry.key, next(numbers), entry))
            for folder in page.folders:
                heapq.heappush(held, (folder, next(numbers), None))
            coming.add(page.folders)
            # Whatever follows has a name above every name of this page. A folder's key may still be above a later name
            # (`a/` above `a-b`): hold it.
            bound = max((key if found else key.removesuffix("/") for key, _, found in held), default="")
        while held and (bound is None or held[0][0] <= bound):
            key, _, found = heapq.heappop(held)
            if found is None:
                coming.reached(key)
                yield from walk(pages, key, expect)
            else:
                yield found


class _Coming:
    """The sub-folders of a folder that were not reached yet: says of the next ones that they will be."""

    def __init__(self, expect: Callable[[str], None] | None) -> None:
        self._expect = expect
        self._later: list[str] = []  # a heap
        self._told: set[str] = set()

    def add(self, folders: Iterable[str]) -> None:
        if self._expect is not None:
            for folder in folders:
                heapq.heappush(self._later, folder)
            self._tell(self._expect)

    def reached(self, folder: str) -> None:
        if self._expect is not None:
            self._told.discard(folder)
            while self._later and self._later[0] <= folder:  # it came so late that nobody was told
                heapq.heappop(self._later)
            self._tell(self._expect)

    def _tell(self, expect: Callable[[str], None]) -> None:
        while self._later and len(self._told) < AHEAD:
            folder = heapq.heappop(self._later)
            self._told.add(folder)
            expect(folder)


def check_order(entries: Iterable[Entry], url: str) -> Iterator[Entry]:
    """The same entries, checked on the way.

    Raises:
        StorageError: at the first key that is not above the one before it: planning from such a list would lose keys.
    """
    last = None
    for entry in entries:
        if last is not None and entry.key <= last:
            raise StorageError(
                f"{url} lists {entry.key!r} after {last!r}, not in key order: maepress cannot plan from such a store"
            )
        last = entry.key
        yield entry
