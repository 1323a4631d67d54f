"""Just-in-time compilation (Numba) of functions that loop over the elements of numpy arrays.

A function is compiled at its first call. The machine code is cached beside the source file or in
the user's cache folder, if either is writable.
"""

import functools
from collections.abc import Callable
from typing import Any

Array = Any
"""A numpy array whose elements a compiled function indexes."""


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """The compiled function. It releases the GIL and may use only what Numba supports."""

    @functools.cache
    def kernel() -> Callable[..., None]:
        import numba  # slow to import: only when something is encoded or decoded

        options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
        try:
            made: Callable[..., None] = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no writable cache folder
            made = numba.njit(**options)(function)
        return made

    @functools.wraps(function)
    def call(*arguments: Array) -> None:
        kernel()(*arguments)

    return call
