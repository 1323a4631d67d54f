"""Security headers of every answer, the answer to an error that nobody expected, and the check of the Host header."""

import logging
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.core.boundary import reason_of

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
ALWAYS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""Headers of every answer."""


class Guard:
    """ASGI middleware: adds security headers to all answers; on loopback, refuses requests with a foreign Host header.

    Otherwise a web page of another site could read the archive through a host name that resolves to 127.0.0.1.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        """Args: hosts: accepted host names; empty: all."""
        self._app, self._hosts = app, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in ALWAYS.items():
                    headers.setdefault(name, value)
            await send(message)

        host = Headers(scope=scope).get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self._hosts and name.strip("[]") not in self._hosts:
            refusal = PlainTextResponse("this viewer answers on localhost only\n", 421)
            await refusal(scope, receive, guarded)
            return
        try:
            await self._app(scope, receive, guarded)
        except Exception as e:  # Starlette would answer it outside of this middleware, and log a traceback each time
            logging.getLogger("maepress").error("the viewer failed to answer a request: %s", reason_of(e))
            if not started:
                await PlainTextResponse("the viewer failed to answer this request\n", 500)(scope, receive, guarded)
