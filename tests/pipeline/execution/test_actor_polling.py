"""Polling shows an actor's text until the end, and survives the actor's death."""

import threading
from typing import Any

import pytest
import ray

from pipeline.execution.actor_polling import polling
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("local_ray")


@ray.remote(num_cpus=0)
class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line)

    def read(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


class Counted:
    """An actor's method that counts how often it was called."""

    def __init__(self, method: Any) -> None:
        self._method = method
        self.calls = 0

    def remote(self) -> Any:
        self.calls += 1
        return self._method.remote()


def test_everything_reported_before_the_end_is_shown() -> None:
    log = Log.remote()  # type: ignore[attr-defined]
    shown: list[str] = []
    with polling(log.read, shown.extend, every=60):
        ray.get(log.write.remote("the last word"))
    assert shown == ["the last word"]


def test_a_lost_actor_ends_neither_the_thread_nor_the_work() -> None:
    log = Log.remote()  # type: ignore[attr-defined]
    method = Counted(log.read)
    shown: list[str] = []
    with polling(method, shown.extend, every=0.05):
        ray.get(log.write.remote("a word"))
        wait_for(lambda: shown)
        ray.kill(log)
        before = method.calls
        wait_for(lambda: method.calls >= before + 3)
        assert any(thread.name == "maepress-polling" for thread in threading.enumerate())
    assert shown == ["a word"]
