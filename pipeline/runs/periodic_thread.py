"""A thread that repeats an action: for heartbeats and for renewing leases."""

import threading
import time
from collections.abc import Callable


class Clock:
    """The current time, and waiting; tests pass a clock that they control."""

    def time(self) -> float:
        """Seconds since 1970, as other machines count them."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds on this machine's clock that is never set back."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for an event; returns whether it was set within `seconds`."""
        return event.wait(seconds)


class PeriodicThread:
    """Calls an action every few seconds, from `start` to `stop`."""

    def __init__(
        self,
        action: Callable[[], None],
        every: float,
        name: str,
        ignored: type[Exception],
        clock: Clock | None = None,
    ) -> None:
        """Nothing is called before `start`.

        Args:
            action: called in the thread.
            every: seconds between two calls.
            name: of the thread.
            ignored: errors of this class do not end the thread.
            clock: measures the pauses; the machine's when not given.
        """
        self._action, self._every, self._ignored = action, every, ignored
        self._clock = clock or Clock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; the first call comes after one pause."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; returns when the last call has ended."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._clock.wait(self._ended, self._every):
            try:
                self._action()
            except self._ignored:
                continue
