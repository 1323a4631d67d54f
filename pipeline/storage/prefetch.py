"""Asking for folders before their turn comes.

    read, in key order:      a/ ...   b/ ...   c/ ...   d/ ...
    asked for meanwhile:              b/       c/       d/        some pages of each

An object store answers a listing after some 50 to 100 ms, however little it says: one request after the other, a
million folders take a day. Here the next pages of the folder that is read, and the first ones of the folders that
follow, are on their way meanwhile. What comes out is what a walk without it gives, in the same order.

Memory is bounded by the number of pages that are asked for ahead. Where there are too many folders, those furthest away
are given up and asked for again in their turn. (A walk expects folders on every level that it is in, and those of the
deepest one come first.)
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType

from pipeline.storage.base import Entry
from pipeline.storage.ordered_walk import Page, check_order, walk

REQUESTS = 16
"""In flight at once."""

FOLDERS, PAGES = 32, 4
"""Folders that are asked for ahead at most, and pages of each: 128,000 keys, some 40 MB, when all of them are full."""


class FolderPrefetch:
    """Lists folders, those that are expected in threads.

    with FolderPrefetch(pages) as ahead:
        for entry in walk(ahead, expect=ahead.expect): ...
    """

    def __init__(self, pages: Callable[[str], Iterable[Page]]) -> None:
        """Args: pages: lists one folder, see `pipeline.storage.ordered_walk.walk`; called in threads."""
        self._pages = pages
        self._pool = ThreadPoolExecutor(REQUESTS, "maepress-listing")
        self._begun: dict[str, _Stream] = {}

    def __enter__(self) -> "FolderPrefetch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self._begun.values():
            stream.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __call__(self, prefix: str) -> Iterator[Page]:
        """The pages of a folder."""
        stream = self._begun.pop(prefix, None) or self._begin(prefix)
        try:
            yield from stream
        finally:
            stream.close()

    def expect(self, prefix: str) -> None:
        """Ask for a folder's first pages; its turn will come."""
        if len(self._begun) >= FOLDERS:
            furthest = max(self._begun)
            if furthest < prefix:
                return
            self._begun.pop(furthest).close()
        self._begun[prefix] = self._begin(prefix)

    def _begin(self, prefix: str) -> "_Stream":
        return _Stream(self._lazily(prefix), self._pool)

    def _lazily(self, prefix: str) -> Iterator[Page]:
        yield from self._pages(prefix)  # not before: even a plain function is to be called in a thread


class _Stream:
    """The pages of one folder, read in the threads of a pool one after the other until PAGES of them wait."""

    def __init__(self, pages: Iterator[Page], pool: ThreadPoolExecutor) -> None:
        self._pages, self._pool = pages, pool
        self._waiting: SimpleQueue[Page | Exception | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._room = PAGES
        self._busy = self._ended = False
        self._ask()

    def __iter__(self) -> Iterator[Page]:
        while (found := self._waiting.get()) is not None:
            if isinstance(found, Exception):
                raise found
            with self._lock:
                self._room += 1
            self._ask()
            yield found

    def close(self) -> None:
        """Ask for no more."""
        with self._lock:
            self._ended = True

    def _ask(self) -> None:
        with self._lock:
            if self._ended or self._busy or not self._room:
                return
            self._busy = True
            self._room -= 1
            self._pool.submit(self._read)

    def _read(self) -> None:
        found: Page | Exception | None
        try:
            found = next(self._pages, None)
        except Exception as e:  # raised where the page would be read
            found = e
        with self._lock:
            self._busy = False
            self._ended |= not isinstance(found, Page)
        self._waiting.put(found)
        self._ask()


def list_in_order(pages: Callable[[str], Iterable[Page]], url: str) -> Iterator[Entry]:
    """Every entry of a store in byte order of its key.

    Args:
        pages: lists one folder, see `pipeline.storage.ordered_walk.walk`; called in threads.
        url: the store's, for messages.

    Raises:
        StorageError: at the first key out of order, and what `pages` raises.
    """
    with FolderPrefetch(pages) as ahead:
        yield from check_order(walk(ahead, expect=ahead.expect), url)
