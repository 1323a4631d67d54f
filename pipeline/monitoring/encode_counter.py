"""How far the encoders are, before their work has become shards: for the progress display, not for the books.

A unit takes minutes on a small machine, and receipts come only when one is finished. So encoders tell a small actor
after every piece what they have done, and a thread of the driver asks it once a second. A piece that was done twice,
because its actor died, counts twice here.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import ray

from pipeline.execution.actor_polling import polling

EVERY_SECONDS = 1.0


class Counts(NamedTuple):
    """Objects, their source bytes and their pixels."""

    objects: int = 0
    source_bytes: int = 0
    pixels: int = 0


class _Counter:
    """Adds up."""

    def __init__(self) -> None:
        self._counts = Counts()

    def add(self, counts: Counts) -> None:
        self._counts = Counts(*(a + b for a, b in zip(self._counts, counts, strict=True)))

    def read(self) -> Counts:
        return self._counts


def start_counter() -> Any:
    """The handle of a new counter, to `add` to from anywhere; it ends when nobody holds the handle."""
    return ray.remote(num_cpus=0, max_restarts=-1)(_Counter).remote()


def watching(counter: Any, show: Callable[[Counts], None]) -> AbstractContextManager[None]:
    """Call `show` with what the counter has, once a second, in a thread, for the length of a `with` block."""
    return polling(counter.read, show, EVERY_SECONDS)
