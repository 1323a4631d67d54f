"""Retries of calls that may succeed later.

The limit of the random wait doubles before each attempt (exponential backoff with full jitter), so
that a thousand workers do not retry at the same moment.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

ATTEMPTS = 8
"""They span 16 seconds on average and 32 at most: enough for a server to restart."""
FIRST_WAIT = 0.25
LONGEST_WAIT = 20.0


def wait_before(attempt: int) -> float:
    """Seconds to wait before an attempt (2, 3, ...).

    Random, uniform between 0 and a limit that doubles from FIRST_WAIT up to LONGEST_WAIT.
    """
    return random.uniform(0.0, min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 2)))


async def with_retries(
    call: Callable[[], Awaitable[T]], is_transient: Callable[[Exception], bool], attempts: int = ATTEMPTS
) -> T:
    """The result of `call`, called again after errors for which `is_transient` is true.

    Raises:
        Exception: the last error, when it is not transient or no attempts are left.
    """
    for attempt in range(1, attempts + 1):
        if attempt > 1:
            await asyncio.sleep(wait_before(attempt))
        try:
            return await call()
        except Exception as e:
            if attempt == attempts or not is_transient(e):
                raise
    raise AssertionError("unreachable")


def retried(call: Callable[[], T], transient: type[Exception], attempts: int = ATTEMPTS) -> T:
    """The result of `call`, called again after errors of one class.

    It blocks the thread while it waits, and is for libraries that retry most errors themselves.

    Raises:
        Exception: the last error, when it is of another class or no attempts are left.
    """
    for attempt in range(2, attempts + 1):
        try:
            return call()
        except transient:
            time.sleep(wait_before(attempt))
    return call()
