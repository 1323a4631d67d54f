"""Progress of a training run, from rank 0, wherever it runs, to the driver's terminal."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

PERIOD = 2.0
"""Seconds between two looks at the board."""


class _Board:
    """Holds the lines that nobody has read yet, the latest hundred."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        """Add a line."""
        self._lines = [*self._lines[-99:], line]

    def read(self) -> list[str]:
        """Take the lines off the board."""
        lines, self._lines = self._lines, []
        return lines


def new_board() -> Any:
    """An actor that holds lines; `write` and `read` are its methods."""
    return ray.remote(num_cpus=0)(_Board).remote()


@contextmanager
def relayed(board: Any, say: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, pass the board's lines on to `say`."""
    ended = threading.Event()

    def relay() -> None:
        while True:
            last = ended.wait(PERIOD)
            for line in ray.get(board.read.remote()):
                say(line)
            if last:
                return

    thread = threading.Thread(target=relay, name="training progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
