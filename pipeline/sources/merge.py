"""Containers as folders: their members between the other objects of a listing, in key order."""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from pipeline.storage.base import Entry

T = TypeVar("T")
Held = list[tuple[str, int, Entry, Iterator[Entry]]]
"""A heap of what has been begun: for each container its next member, and the rest of them."""
AHEAD, OBJECTS, THREADS = 16, 4096, 8
"""Containers that are prepared in advance, and objects that are held for it at most."""


def merged(
    entries: Iterator[Entry],
    is_container: Callable[[str], bool],
    prepare: Callable[[Entry], T],
    members: Callable[[Entry, T], Iterator[Entry]],
    covered: Callable[[Entry], None],
) -> Iterator[Entry]:
    """Every object and every member in byte order of the key.

    Args:
        entries: objects in key order.
        is_container: whether members take an object's place.
        prepare: what takes long about a container; called in threads, some containers in advance.
        members: of a container, in key order, given what `prepare` returned; called in key order. It
            may also give the container itself, first.
        covered: called with what is left out, as a member has its key.
    """
    held: Held = []
    last: str | None = None
    with ThreadPoolExecutor(THREADS, "maepress-containers") as pool:
        try:
            for number, (entry, ready) in enumerate(_ahead(entries, is_container, prepare, pool)):
                for found in _below(held, entry.key):
                    if found.key == last:
                        covered(found)
                    else:
                        yield found
                    last = found.key
                if ready is not None:
                    _push(held, number, members(entry, ready.result()))
                elif held and held[0][0] == entry.key:
                    covered(entry)
                else:
                    last = entry.key
                    yield entry
            for found in _below(held, None):
                if found.key == last:
                    covered(found)
                else:
                    yield found
                last = found.key
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _below(held: Held, key: str | None) -> Iterator[Entry]:
    """The members before a key."""
    while held and (key is None or held[0][0] < key):
        _, number, entry, rest = heapq.heappop(held)
        yield entry
        _push(held, number, rest)


def _push(held: Held, number: int, rest: Iterator[Entry]) -> None:
    if (following := next(rest, None)) is not None:
        heapq.heappush(held, (following.key, number, following, rest))


def _ahead(
    entries: Iterator[Entry],
    is_container: Callable[[str], bool],
    prepare: Callable[[Entry], T],
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[Entry, "Future[T] | None"]]:
    """The entries, with the futures of containers, some of which are begun in advance."""
    waiting: deque[tuple[Entry, Future[T] | None]] = deque()
    begun = 0
    for entry in entries:
        ready = pool.submit(prepare, entry) if is_container(entry.key) else None
        begun += ready is not None
        waiting.append((entry, ready))
        while waiting and (begun > AHEAD or len(waiting) > OBJECTS or not begun):
            begun -= waiting[0][1] is not None
            yield waiting.popleft()
    yield from waiting
