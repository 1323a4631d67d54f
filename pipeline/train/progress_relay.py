"""Relays progress messages of a training run from rank 0, on whatever node, to the driver."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import ray

from pipeline.execution.actor_polling import polling

PERIOD = 2.0
"""Seconds between two reads of the board."""


class _Board:
    """Holds the latest hundred unread lines."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        """Add a line."""
        self._lines = [*self._lines[-99:], line]

    def read(self) -> list[str]:
        """Return the lines and remove them."""
        lines, self._lines = self._lines, []
        return lines


def new_board() -> Any:
    """An actor that holds lines, with the methods `write` and `read`."""
    return ray.remote(num_cpus=0)(_Board).remote()


def relayed(board: Any, notify: Callable[[str], None]) -> AbstractContextManager[None]:
    """Context manager that passes the board's lines on to `notify`, repeatedly and once at its end."""

    def notify_all(lines: list[str]) -> None:
        for line in lines:
            notify(line)

    return polling(board.read, notify_all, PERIOD)
