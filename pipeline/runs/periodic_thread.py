"""A thread that repeats an action: for heartbeats and for renewing leases."""

import threading
from collections.abc import Callable


class PeriodicThread:
    """Calls an action every few seconds, from `start` to `stop`."""

    def __init__(self, action: Callable[[], None], every: float, name: str, ignored: type[Exception]) -> None:
        """Nothing is called before `start`.

        Args:
            action: called in the thread.
            every: seconds between two calls.
            name: of the thread.
            ignored: errors of this class do not end the thread.
        """
        self._action, self._every, self._ignored = action, every, ignored
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
        while not self._ended.wait(self._every):
            try:
                self._action()
            except self._ignored:
                continue
