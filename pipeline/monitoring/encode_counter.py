"""Counts what encoders have finished before it is part of a shard: for the progress display only.

A unit takes minutes on a small machine, and its receipt comes only when its shard is written. So
encoders report after every piece to a small actor, and a thread of the driver reads it once per
second. A piece that is repeated because its actor died counts twice here, which is why results
never use these counts.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

POLL_SECONDS = 1.0


class EncodeCounts(NamedTuple):
    """Numbers of objects, of their source bytes and of their pixels."""

    objects: int = 0
    source_bytes: int = 0
    pixels: int = 0

    def plus(self, other: "EncodeCounts") -> "EncodeCounts":
        """The sums of both."""
        return EncodeCounts(*(a + b for a, b in zip(self, other, strict=True)))


class _Counter:
    """Adds up counts."""

    def __init__(self) -> None:
        self._counts = EncodeCounts()

    def add(self, counts: EncodeCounts) -> None:
        self._counts = self._counts.plus(counts)

    def read(self) -> EncodeCounts:
        return self._counts


def start_counter() -> Any:
    """Start a counter and return its handle, for `add` from any process.

    It ends when no handle is left.
    """
    import ray

    return ray.remote(num_cpus=0, max_restarts=-1)(_Counter).remote()


def polling_counter(counter: Any, show: Callable[[EncodeCounts], None]) -> AbstractContextManager[None]:
    """Within a `with` block, call `show` with the counter's value once per second, in a thread."""
    from pipeline.execution.actor_polling import polling  # imports Ray

    return polling(counter.read, show, POLL_SECONDS)
