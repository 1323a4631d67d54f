"""Asking an actor now and then what there is to show, for the length of a `with` block.

For displays only, never for the books: an actor that is lost, or does not answer in time, is asked again later, and
the work goes on without it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

_PATIENCE_SECONDS = 60.0
_LAST_PATIENCE_SECONDS = 5.0


@contextmanager
def polling(method: Any, show: Callable[[Any], None], every: float) -> Iterator[None]:
    """Call `show` with what an actor's method returns, in a thread, and once more at the end.

    Args:
        method: of an actor's handle, without arguments.
        show: called from the thread.
        every: seconds between two questions.
    """
    ended = threading.Event()

    def ask() -> None:
        last = False
        while not last:
            last = ended.wait(every)
            try:
                show(ray.get(method.remote(), timeout=_LAST_PATIENCE_SECONDS if last else _PATIENCE_SECONDS))
            except RayError:
                continue

    thread = threading.Thread(target=ask, name="maepress-polling", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
