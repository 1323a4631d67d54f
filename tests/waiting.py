"""Waiting for other threads and processes, and a clock that only tests advance."""

import threading
import time
from collections.abc import Callable

from pipeline.runs.periodic_thread import Clock

POLL_SECONDS = 0.01


def wait_for(condition: Callable[[], object], seconds: float = 180) -> None:
    """Return as soon as a condition holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {seconds:g} s"
        time.sleep(POLL_SECONDS)


class ManualClock(Clock):
    """A clock that stands still until a test advances it, which wakes those who wait for that time.

    Attributes:
        waiting: number of threads that wait now. Their time counts from when they began to: who advances the clock
            before a thread waits lets it wait for a time that may never come.
    """

    def __init__(self) -> None:
        self._now, self._lock, self.waiting = 1_000_000.0, threading.Lock(), 0

    def time(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def wait(self, event: threading.Event, seconds: float) -> bool:
        with self._lock:
            until, self.waiting = self._now + seconds, self.waiting + 1
        try:
            while not event.wait(POLL_SECONDS):
                if self._now >= until:
                    return False
            return True
        finally:
            with self._lock:
                self.waiting -= 1

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds
