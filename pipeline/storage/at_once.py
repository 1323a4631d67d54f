"""Work on several objects at once, for requests that wait without holding the interpreter's lock."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")
THREADS = 16


def at_once(work: Callable[[T], U], items: Sequence[T]) -> list[U]:
    """The results of `work` for each item, in their order, computed in at most `THREADS` threads; one item needs none.

    Raises:
        Exception: the first that `work` raised, in the order of the items.
    """
    if len(items) <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(THREADS, len(items))) as pool:
        return list(pool.map(work, items))
