"""When a request to a web server may begin: limits per host and in all, and the time that a server asks for."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

IN_ALL = 64
"""Requests in flight of one process."""
LONGEST_WAIT = 60.0
"""Seconds that a request waits at most for a server that asks for it; beyond, the object is tried in the next run."""
_DOWN_SECONDS = 60.0
_LONGEST_HOLD = 86400.0
_HOSTS = 10_000


class _Gate:
    def __init__(self, limit: int) -> None:
        self.free, self.users = asyncio.Semaphore(limit), 0


class HostTurns:
    """The turns of one process; used on one event loop. Memory does not grow with the hosts."""

    def __init__(self, per_host: int) -> None:
        """Args: per_host: requests in flight to one host."""
        self._per_host, self._all = per_host, asyncio.Semaphore(IN_ALL)
        self._gates: dict[str, _Gate] = {}
        self._held: OrderedDict[str, tuple[float, bool]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """Wait until a request to a host may begin; it has ended at the end of the block."""
        gate = self._gates.setdefault(host, _Gate(self._per_host))
        gate.users += 1
        try:
            async with gate.free, self._all:  # first the host's: who waits for a busy host keeps no other waiting
                yield
        finally:
            gate.users -= 1
            if not gate.users:
                self._gates.pop(host, None)

    def hold(self, host: str, seconds: float) -> None:
        """Send a host nothing for the seconds that it asked for."""
        self._hold(host, min(seconds, _LONGEST_HOLD), down=False)

    def mark_down(self, host: str) -> None:
        """Note that a host cannot be reached: requests to it fail at once for a minute, as there may be thousands."""
        self._hold(host, _DOWN_SECONDS, down=True)

    async def may_begin(self, host: str) -> bool:
        """Wait as long as a host asked for; False, at once, where that is too long or the host cannot be reached."""
        until, down = self._held.get(host, (0.0, False))
        wait = until - time.monotonic()
        if wait <= 0:
            return True
        if down or wait > LONGEST_WAIT:
            return False
        await asyncio.sleep(wait)
        return True

    def _hold(self, host: str, seconds: float, *, down: bool) -> None:
        until = max(time.monotonic() + seconds, self._held.get(host, (0.0, False))[0])
        self._held[host] = until, down
        while len(self._held) > _HOSTS:
            self._held.popitem(last=False)
