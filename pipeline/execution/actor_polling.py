"""Polling an actor for something to display, in a thread, for the length of a `with` block.

For displays only, not for results: an actor that is lost or too slow is asked again later, and the
work goes on. The thread ends with Ray, and never starts it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

_TIMEOUT_SECONDS = 60.0
_LAST_TIMEOUT_SECONDS = 5.0


@contextmanager
def polling(method: Any, show: Callable[[Any], None], every: float) -> Iterator[None]:
    """Call `show` with the result of an actor's method, every few seconds and once at the end.

    Args:
        method: a method of an actor's handle that takes no arguments.
        show: called in the thread.
        every: seconds between two calls.
    """
    ended = threading.Event()

    def poll() -> None:
        last = False
        while not last:
            last = ended.wait(every)
            if not ray.is_initialized():  # it ended before us: a call would start it again
                return
            try:
                show(ray.get(method.remote(), timeout=_LAST_TIMEOUT_SECONDS if last else _TIMEOUT_SECONDS))
            except RayError:
                continue

    thread = threading.Thread(target=poll, name="maepress-polling", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
