"""Key order, whatever order a store lists in.

Planning merges the listing with the archive, so both must come in byte order of the whole key (which is also Python's
order of `str`). Folders get in the way: a tree walk visits folder `a` before file `a-b`, but the key `a/x` sorts
after `a-b`, because "-" sorts before "/". Amazon S3 and MinIO list whole keys in byte order; file systems, and S3
servers that stand on one (SeaweedFS), list in tree order. Two tools put that right:

- `walk`: goes folder by folder, with a folder standing in its parent's order as `a/`; it holds one page of a folder
  at a time.
- `ordered`: lets an already sorted stream pass and refuses one that is not.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipeline.store import Entry, StorageError


@dataclass(frozen=True, slots=True)
class Page:
    """A part of one folder's listing.

    Attributes:
        files: objects of this folder, with their whole keys.
        folders: prefixes of its sub-folders: whole keys that end with "/".
    """

    files: list[Entry]
    folders: list[str]


def walk(pages: Callable[[str], Iterable[Page]], prefix: str = "") -> Iterator[Entry]:
    """Every entry below a prefix in byte order.

    Args:
        pages: lists one folder, given its prefix ("" or ending with "/"). Its pages must follow each other in byte
            order of the names, folders with or without their "/" counted; inside a page any order will do.
        prefix: where to begin.

    Yields:
        Entries in strictly rising order of key.
    """
    held: list[tuple[str, Entry | None]] = []  # a heap of keys; None marks a folder
    for page in pages(prefix):
        for entry in page.files:
            heapq.heappush(held, (entry.key, entry))
        for folder in page.folders:
            heapq.heappush(held, (folder, None))
        # Whatever follows has a name above every name of this page. A folder's key may still be above a later name
        # (`a/` above `a-b`): hold it.
        bound = max((key.removesuffix("/") for key, _ in held), default="")
        while held and held[0][0] <= bound:
            key, found = heapq.heappop(held)
            if found is None:
                yield from walk(pages, key)
            else:
                yield found
    while held:
        key, found = heapq.heappop(held)
        if found is None:
            yield from walk(pages, key)
        else:
            yield found


def ordered(entries: Iterable[Entry], url: str) -> Iterator[Entry]:
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
