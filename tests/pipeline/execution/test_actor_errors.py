"""Errors of an actor's constructor come with its first call."""

import pytest

from model.core.errors import MaepressError
from pipeline.execution.actor_errors import raise_in_first_call


@raise_in_first_call
class Actor:
    """An actor whose constructor may fail."""

    def __init__(self, problem: str) -> None:
        if problem:
            raise MaepressError(problem)

    def __call__(self, number: int) -> int:
        return number + 1


class OwnConstructor(Actor):
    """One that does not call it."""

    def __init__(self) -> None:
        self.made = True


def test_a_call_raises_what_the_constructor_met() -> None:
    assert Actor("")(1) == 2
    broken = Actor("no model")
    for _ in range(2):
        with pytest.raises(MaepressError, match="no model"):
            broken(1)
    assert Actor("")(1) == 2, "each actor has its own error"


def test_a_subclass_may_have_a_constructor_of_its_own() -> None:
    assert OwnConstructor()(1) == 2
