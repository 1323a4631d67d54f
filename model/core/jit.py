"""Just-in-time compilation (Numba) of functions that loop over the elements of numpy arrays.

A function is compiled at its first call. The machine code is cached beside the source file or in
the user's cache folder, if either is writable.
"""

import functools
from collections.abc import Callable
from typing import Any

Array = Any
"""A numpy array whose elements a compiled function indexes."""
Function = Callable[..., None]


def compiled(function: Function) -> Function:
    """The compiled function. It releases the GIL and may use only what Numba supports."""
    return _compiled(function)


def compiled_for_floats(function: Function) -> Function:
    """The same, where a product and a sum may become one instruction, which rounds once instead of twice."""
    return _compiled(function, fastmath={"contract"})


def _compiled(function: Function, **more: Any) -> Function:
    @functools.cache
    def kernel() -> Function:
        import numba  # slow to import: only when something is encoded or decoded

        options: dict[str, Any] = {"nogil": True, "error_model": "numpy", **more}
        try:
            made: Function = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no writable cache folder
            made = numba.njit(**options)(function)
        return made

    @functools.wraps(function)
    def call(*arguments: Array) -> None:
        kernel()(*arguments)

    return call
