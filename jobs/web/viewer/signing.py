"""Signed addresses of images: whoever has one may see that image until it expires, and nothing else.

    /image/2024/cat.jpg?width=640&expires=1767225600&signature=HEX

The signature is HMAC-SHA256, in hex, with the key in `MAEPRESS_URL_KEY`, of one line of text: the percent-encoded path,
"?" and the parameters without `signature`, percent-encoded and sorted (`message`). Where that variable is set, the
viewer answers signed addresses of images, `/healthz` and `/metrics`, and no pages.
"""

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from model.core.errors import MaepressError

VARIABLE = "MAEPRESS_URL_KEY"
SHORTEST_KEY = 32
"""Characters of a key at least."""
OPEN = ("/healthz", "/metrics")
SIGNED = ("image", "original")


def key_of(environ: Mapping[str, str] = os.environ) -> bytes | None:
    """The key in the environment; None where there is none.

    Raises:
        MaepressError: when it is too short to be one.
    """
    text = environ.get(VARIABLE, "")
    if text and len(text) < SHORTEST_KEY:
        raise MaepressError(f"{VARIABLE} must have at least {SHORTEST_KEY} characters (openssl rand -hex 32)")
    return text.encode() or None


def signed_address(address: str, expires: int, key: bytes | None = None) -> str:
    """An address of the viewer that may be given away.

    Args:
        address: of an image, such as `https://HOST/image/2024/cat.jpg?width=640`, or only its path.
        expires: seconds since 1970.
        key: the key; None: that in `MAEPRESS_URL_KEY`.

    Raises:
        MaepressError: when there is no key.
    """
    key = key or key_of()
    if key is None:
        raise MaepressError(f"{VARIABLE} is not set: it holds the key that addresses are signed with")
    parts = urlsplit(address)
    given = [(n, v) for n, v in parse_qsl(parts.query, keep_blank_values=True) if n not in ("expires", "signature")]
    pairs = [*given, ("expires", str(expires))]
    signature = hmac.new(key, message(unquote(parts.path), pairs), hashlib.sha256).hexdigest()
    return parts._replace(query=urlencode([*pairs, ("signature", signature)], quote_via=quote)).geturl()


def message(path: str, pairs: list[tuple[str, str]]) -> bytes:
    """What is signed: the decoded path and parameters, written in one way only."""
    known = sorted(pair for pair in pairs if pair[0] != "signature")
    return f"{quote(path, safe='/')}?{urlencode(known, quote_via=quote, safe='')}".encode()


def problem_with(path: str, query: str, key: bytes, now: float) -> str | None:
    """Why an address is refused, in a few words; None for a valid one.

    Args:
        path: decoded.
        query: as sent.
        key: the key.
        now: seconds since 1970.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    values = dict(pairs)
    expected = hmac.new(key, message(path, pairs), hashlib.sha256).hexdigest()
    # The signature first: nothing is said about an address that nobody has signed.
    if not hmac.compare_digest(values.get("signature", "").encode(), expected.encode()):
        return "this address is not signed"
    expires = values.get("expires", "")
    if not (expires.isascii() and expires.isdigit() and len(expires) < 16):
        return "this address is not signed"
    return "this address has expired" if now >= int(expires) else None


class SignedOnly:
    """ASGI middleware: without a valid signature there is no image, and there are no pages."""

    def __init__(self, app: ASGIApp, key: bytes, clock: Callable[[], float] = time.time) -> None:
        """Args: key: the key; clock: seconds since 1970."""
        self._app, self._key, self._clock = app, key, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it on."""
        if scope["type"] == "http" and (problem := self._problem(scope)):
            await PlainTextResponse(problem + "\n", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> str | None:
        path = scope["path"]
        if path in OPEN:
            return None
        if path.split("/")[1:2] not in [[name] for name in SIGNED]:
            return "this viewer answers signed addresses of images only"
        return problem_with(path, scope["query_string"].decode("latin-1"), self._key, self._clock())
