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
    """A clock that stands still until a test advances it, which wakes those who wait for that time."""

    def __init__(self) -> None:
        self._now = 1_000_000.0

    def time(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def wait(self, event: threading.Event, seconds: float) -> bool:
        until = self._now + seconds
        while not event.wait(POLL_SECONDS):
            if self._now >= until:
                return False
        return True

    def advance(self, seconds: float) -> None:
        self._now += seconds
