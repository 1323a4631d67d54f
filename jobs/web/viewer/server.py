"""The HTTP server of the viewer: a limit on connections, and a time limit on requests and on slow readers.

Without them, a few hundred connections that send nothing use up the process's file descriptors: the
server answers nobody any more, and logs each connection that it cannot accept.
"""

import asyncio
import resource
import socket

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from jobs.web.viewer.headers import ALWAYS

MOST_CONNECTIONS = 256
"""Open connections; further ones are closed at once. A browser keeps six."""
_QUEUE = 2048
"""Connections that wait in the kernel. In a short queue, a client waits a second before it tries again."""
SECONDS = 20.0
"""Time in which a request's header must be complete, and a reader must take some of the answer."""


class ViewerServer(uvicorn.Server):
    """A server whose queue of waiting connections is longer than what it accepts at once.

    uvicorn has one setting, `backlog`, for both.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_QUEUE)


def viewer_server(app: ASGIApp, *, most: int | None = None, seconds: float = SECONDS) -> ViewerServer:
    """A server for the viewer.

    Args:
        app: the viewer.
        most: open connections; None: `MOST_CONNECTIONS`, or a quarter of this process's file
            descriptors if those are fewer.
        seconds: see `SECONDS`.
    """
    if most is None:
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MOST_CONNECTIONS if descriptors < 0 else max(8, min(MOST_CONNECTIONS, descriptors // 4))
    protocol = type("Limited", (LimitedProtocol,), {"most": most, "seconds": seconds})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        # asyncio accepts as many connections in each turn of its loop, and a refused one is closed three or
        # four turns later. With more it runs out of descriptors, and logs that for each of the rest.
        backlog=most // 4,
        log_level="error",  # at "warning", every malformed request writes a line
        server_header=False,
        access_log=False,
    )
    return ViewerServer(config)


class LimitedProtocol(H11Protocol):
    """One connection.

    Attributes:
        most: open connections of the server.
        seconds: time limit.
    """

    most = MOST_CONNECTIONS
    seconds = SECONDS
    _refused = False
    _late: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, or close it when there are too many."""
        if len(self.connections) >= self.most:
            self._refused = True
            transport.abort()
            return
        super().connection_made(transport)
        self._expect_request()
        self._stalled = self.loop.call_later(self.seconds, self._check_reader)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        for timer in (self._late, self._stalled):
            if timer is not None:
                timer.cancel()
        self._late = self._stalled = None
        if not self._refused:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        if self._refused:
            return
        known = self.cycle
        super().data_received(data)
        if self.cycle is not known:  # the header is complete
            if self._late is not None:
                self._late.cancel()
                self._late = None
        elif self._is_idle() and self._late is None:
            self._expect_request()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        head = {"content-type": "text/plain; charset=utf-8", "connection": "close", "content-length": str(len(msg))}
        lines = [f"{name}: {value}" for name, value in {**head, **ALWAYS}.items()]
        self.transport.write("\r\n".join(["HTTP/1.1 400 Bad Request", *lines, "", msg]).encode())
        self.transport.close()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_request(self) -> None:
        self._late = self.loop.call_later(self.seconds, self._check_request)

    def _check_request(self) -> None:
        self._late = None
        if self._is_idle():
            self.transport.abort()

    def _check_reader(self) -> None:
        """Close the connection of a reader that has taken nothing since the last check."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent == self._unsent:
            self.transport.abort()
            return
        self._unsent = unsent
        self._stalled = self.loop.call_later(self.seconds, self._check_reader)
