"""Progress of a training run, from rank 0, wherever it runs, to the driver's terminal."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import ray

from pipeline.execution.actor_polling import polling

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


def relayed(board: Any, notify: Callable[[str], None]) -> AbstractContextManager[None]:
    """While the block runs, and once at its end, pass the board's lines on to `notify`."""

    def notify_all(lines: list[str]) -> None:
        for line in lines:
            notify(line)

    return polling(board.read, notify_all, PERIOD)
