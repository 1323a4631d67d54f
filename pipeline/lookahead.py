"""Asking for folders before their turn comes.

    read, in key order:      a/ ...   b/ ...   c/ ...   d/ ...
    asked for meanwhile:              b/       c/       d/        a page of each

An object store answers a listing after some 50 to 100 ms, however little it says. One request after the other, a bucket
of a million folders takes a day; with the next folders on their way, no more than their pages take to be read. What
comes out is what a walk without it gives, in the same order.

Memory is bounded by the number of folders that are asked for ahead, a page each: when there are too many, the ones
furthest away are given up and asked for again in their turn. (A walk expects the folders of every level that it is
in, and those of the deepest one are read first.)
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from pipeline.listing import Page, ordered, walk
from pipeline.store import Entry

REQUESTS = 16
"""In flight at once."""

FOLDERS = 48
"""Asked for ahead at most; their pages hold a thousand keys each, some 15 MB in all."""


class Lookahead:
    """Lists folders, those that are expected in threads.

    with Lookahead(pages) as ahead:
        for entry in walk(ahead, expect=ahead.expect): ...
    """

    def __init__(self, pages: Callable[[str], Iterable[Page]]) -> None:
        """Args: pages: lists one folder, see `pipeline.listing.walk`; called in threads."""
        self._pages = pages
        self._pool = ThreadPoolExecutor(REQUESTS, "maepress-listing")
        self._begun: dict[str, tuple[Iterator[Page], Future[Page | None]]] = {}

    def __enter__(self) -> "Lookahead":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __call__(self, prefix: str) -> Iterator[Page]:
        """The pages of a folder; while one is read the next is on its way."""
        stream, coming = self._begun.pop(prefix, None) or self._begin(prefix)
        while (page := coming.result()) is not None:
            coming = self._next(stream)
            yield page

    def expect(self, prefix: str) -> None:
        """Ask for a folder's first page; its turn will come."""
        if len(self._begun) >= FOLDERS:
            furthest = max(self._begun)
            if furthest < prefix:
                return
            self._begun.pop(furthest)[1].cancel()
        self._begun[prefix] = self._begin(prefix)

    def _begin(self, prefix: str) -> tuple[Iterator[Page], "Future[Page | None]"]:
        stream = self._stream(prefix)
        return stream, self._next(stream)

    def _stream(self, prefix: str) -> Iterator[Page]:
        yield from self._pages(prefix)  # here, so that even a plain function is called in a thread

    def _next(self, stream: Iterator[Page]) -> "Future[Page | None]":
        return self._pool.submit(next, stream, None)


def listed(pages: Callable[[str], Iterable[Page]], url: str) -> Iterator[Entry]:
    """Every entry of a store in byte order of its key.

    Args:
        pages: lists one folder, see `pipeline.listing.walk`; called in threads.
        url: the store's, for messages.

    Raises:
        StorageError: at the first key out of order, and what `pages` raises.
    """
    with Lookahead(pages) as ahead:
        yield from ordered(walk(ahead, expect=ahead.expect), url)
