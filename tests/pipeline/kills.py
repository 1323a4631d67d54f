"""Kills at every operation on a local store, in this process: what is written before is there, nothing comes after."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from deltalake import DeltaTable

from pipeline.runs import heartbeat, lease
from pipeline.storage.local.store import LocalStore

DEAD = "4194303 1"
"""A process that is not there."""


class Killed(BaseException):
    """The process ends here."""


class Kill:
    """Raises at an operation, and at each one after it: cleaning up does not reach the store any more."""

    def __init__(self, at: int) -> None:
        self.at, self.done = at, 0

    def before(self) -> None:
        self.done += 1
        if self.done >= self.at:
            raise Killed


_OPERATIONS: tuple[tuple[type, str], ...] = (
    (LocalStore, "put"),
    (LocalStore, "put_new"),
    (LocalStore, "open_output"),
    (LocalStore, "delete"),
    (LocalStore, "delete_unchanged"),
    (LocalStore, "discard"),
    (DeltaTable, "create_write_transaction"),
    (DeltaTable, "create_checkpoint"),
    (DeltaTable, "create"),
)


@contextlib.contextmanager
def killed_at(operation: int) -> Iterator[Kill]:
    """Within the block, the process seems to be killed before that operation on any store, if there are as many."""
    kill = Kill(operation)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in _OPERATIONS:
            patch.setattr(owner, name, _counted(getattr(owner, name), kill))
        for module in (heartbeat, lease):
            patch.setattr(module, "this_process", lambda: DEAD)
        with contextlib.suppress(Killed):
            yield kill


def _counted(operation: Callable[..., Any], kill: Kill) -> Callable[..., Any]:
    def counted(*arguments: Any, **named: Any) -> Any:
        kill.before()
        return operation(*arguments, **named)

    return counted
