"""Batches of crops made ahead in a thread, while the step before them runs.

Reading and resizing images happens outside Python's lock. It fills the moments in which a rank
waits for the others, and an image that takes long to read does not stop a step.
"""

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from torch import Tensor

AHEAD = 3
"""Batches that are kept ready."""


class CropsAhead:
    """Calls a function in a thread and hands out its results in order; a context that ends the thread."""

    def __init__(self, make: Callable[[], Tensor]) -> None:
        """Nothing is made before the context begins.

        Args:
            make: makes the next batch; called from one thread only.
        """
        self._make = make
        self._ready: queue.Queue[Tensor | BaseException] = queue.Queue(AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="crops", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        while self._thread.is_alive():  # it may wait for room in the queue
            try:
                self._ready.get_nowait()
            except queue.Empty:
                self._thread.join(0.05)

    def next(self) -> Tensor:
        """The next batch.

        Raises:
            Exception: whatever the function raised.
        """
        made = self._ready.get()
        if isinstance(made, BaseException):
            self._ready.put(made)  # whoever asks again must not wait forever
            raise made
        return made

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                made: Tensor | BaseException = self._make()
            except BaseException as e:
                made = e
            self._ready.put(made)
            if isinstance(made, BaseException):
                return
