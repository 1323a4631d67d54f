"""Errors of an actor's constructor, raised where they reach the driver as objects."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from model.core.errors import MaepressError

Actor = TypeVar("Actor", bound=Callable[[Any], Any])


def raise_in_first_call(kind: type[Actor]) -> type[Actor]:
    """Class decorator for actors of Ray Data: a call raises the `MaepressError` that the constructor met.

    Ray keeps only the text of an error in an actor's constructor, and restarts the actor. An error in a call is sent to
    the driver as an object, with its class.
    """
    construct: Callable[..., None] = kind.__init__  # type: ignore[misc]  # of the class itself
    call: Callable[..., Any] = kind.__call__

    @functools.wraps(construct)
    def __init__(self: Any, *arguments: Any, **options: Any) -> None:
        try:
            construct(self, *arguments, **options)
        except MaepressError as e:
            self._constructor_error = e

    @functools.wraps(call)
    def __call__(self: Any, table: Any) -> Any:
        if self._constructor_error is not None:
            raise self._constructor_error
        return call(self, table)

    kind._constructor_error = None  # type: ignore[attr-defined]  # also of a subclass with a constructor of its own
    kind.__init__ = __init__  # type: ignore[misc]
    kind.__call__ = __call__  # type: ignore[method-assign]
    return kind
