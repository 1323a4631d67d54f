"""Doing something again and again in a thread: how a run says that it is alive, and keeps its lease."""

import threading
from collections.abc import Callable


class PeriodicThread:
    """Calls an action every few seconds, from `start` until `stop`."""

    def __init__(self, action: Callable[[], None], every: float, name: str, forgiven: type[Exception]) -> None:
        """Nothing is called before `start`.

        Args:
            action: what to do.
            every: seconds between two calls.
            name: of the thread.
            forgiven: errors of the action after which the next call comes as if nothing had been.
        """
        self._action, self._every, self._forgiven = action, every, forgiven
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first call comes after one pause."""
        self._thread.start()

    def stop(self) -> None:
        """End; returns when no call is under way any more."""
        self._ended.set()
        self._thread.join()

    def _go_on(self) -> None:
        while not self._ended.wait(self._every):
            try:
                self._action()
            except self._forgiven:
                continue
