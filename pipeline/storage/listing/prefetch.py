"""Prefetching folder listings, so that a walk does not wait for one request after the other.

    read, in key order:      a/ ...   b/ ...   c/ ...   d/ ...
    requested meanwhile:              b/       c/       d/        some pages of each

An object store answers a listing after 50 to 100 ms, however short the answer is: at one request at
a time, a million folders take a day. Here the next pages of the current folder and the first pages
of the following folders are requested in advance. The result is that of a walk without prefetching,
in the same order.

Memory is bounded by the number of pages requested in advance. With too many folders, the furthest
ones are dropped and requested again when they are reached. (A walk announces folders on each of its
levels; those of the deepest level come first.)
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType

from pipeline.storage.base import Entry, NotListed
from pipeline.storage.listing.ordered_walk import Page, check_order, walk

REQUESTS = 16
"""Requests in flight at once."""

FOLDERS, PAGES = 32, 4
"""Folders requested in advance, and pages of each, at most: 128,000 keys, about 40 MB, when all
pages are full."""


class FolderPrefetch:
    """Lists folders; announced folders are listed in threads.

    with FolderPrefetch(pages) as ahead:
        for entry in walk(ahead, expect=ahead.expect): ...
    """

    def __init__(self, pages: Callable[[str], Iterable[Page]]) -> None:
        """No folder is listed yet.

        Args:
            pages: lists one folder (see `pipeline.storage.listing.ordered_walk.walk`); called in threads.
        """
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
        """Request a folder's first pages in advance."""
        if len(self._begun) >= FOLDERS:
            furthest = max(self._begun)
            if furthest < prefix:
                return
            self._begun.pop(furthest).close()
        self._begun[prefix] = self._begin(prefix)

    def _begin(self, prefix: str) -> "_Stream":
        return _Stream(self._lazily(prefix), self._pool)

    def _lazily(self, prefix: str) -> Iterator[Page]:
        yield from self._pages(prefix)  # lazily: `pages` may be a plain function, which must run in a thread


class _Stream:
    """The pages of one folder, read one after the other by a pool's threads, PAGES in advance."""

    def __init__(self, pages: Iterator[Page], pool: ThreadPoolExecutor) -> None:
        self._pages, self._pool = pages, pool
        self._waiting: SimpleQueue[Page | Exception | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._room = PAGES
        self._busy = self._ended = False
        self._request()

    def __iter__(self) -> Iterator[Page]:
        while (found := self._waiting.get()) is not None:
            if isinstance(found, Exception):
                raise found
            with self._lock:
                self._room += 1
            self._request()
            yield found

    def close(self) -> None:
        """Request no more pages."""
        with self._lock:
            self._ended = True

    def _request(self) -> None:
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
        except Exception as e:  # raised again in the reader's thread
            found = e
        with self._lock:
            self._waiting.put(found)  # before another thread may read the next page
            self._busy = False
            self._ended |= not isinstance(found, Page)
        self._request()


def list_in_order(
    pages: Callable[[str], Iterable[Page]], url: str, unlisted: NotListed | None = None
) -> Iterator[Entry]:
    """Every entry of a store in byte order of its key, as `walk` gives them.

    Args:
        pages: lists one folder (see `pipeline.storage.listing.ordered_walk.walk`); called in threads.
        url: of the store, for messages.
        unlisted: see `Store.entries`.

    Raises:
        StorageError: at the first key out of order.
        Exception: any error of `pages`.
    """
    with FolderPrefetch(pages) as ahead:
        yield from check_order(walk(ahead, expect=ahead.expect, unlisted=unlisted), url)
