"""Functions on numpy arrays, number by number, as machine code: made by Numba when they are first called.

The machine code is kept beside the source file or in the user's cache folder, where one can be written.
"""

import functools
from collections.abc import Callable
from typing import Any

Array = Any
"""A numpy array inside such a function, where it is indexed number by number."""


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """The function as machine code, which runs beside other threads; it must keep to what Numba knows."""

    @functools.cache
    def kernel() -> Callable[..., None]:
        import numba  # slow to load, which only those should pay who code

        options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
        try:
            made: Callable[..., None] = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no folder to keep machine code in
            made = numba.njit(**options)(function)
        return made

    @functools.wraps(function)
    def call(*arguments: Array) -> None:
        kernel()(*arguments)

    return call
