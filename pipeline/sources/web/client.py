"""A polite client for many web servers: limits per host and in all, retries, waits that servers ask for.

One session per process and set of options, on the event loop that the S3 client uses, too. Every
connection, also after a redirect, begins in `http_rules.public_socket`, so that no name and no
redirect leads to an address that is not public. No proxies, no cookies, no credentials.
"""

import asyncio
import atexit
import os
import threading
import zlib
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import fsspec.asyn
from yarl import URL

from pipeline.sources.web.rules import (
    AGENT,
    NOT_PUBLIC,
    etag_of,
    modified_ns_of,
    opt_out,
    public_socket,
    retry_after,
    size_of,
)
from pipeline.sources.web.turns import IN_ALL, HostTurns
from pipeline.sources.web.url_keys import url_of_key
from pipeline.storage.base import Fetched, FetchFailed, too_large
from pipeline.storage.retry import wait_before

T = TypeVar("T")
PER_HOST = 4
"""Requests in flight to one host, where the user sets no other number."""
ATTEMPTS = 4
LARGEST = 1 << 30
"""Bytes of a body where the caller has no limit."""
_CONNECT_SECONDS, _SILENT_SECONDS, _ATTEMPT_SECONDS = 10.0, 30.0, 600.0
_REDIRECTS = 5
_TRANSIENT = frozenset({408, 425, 429})
_REFUSED = frozenset({401, 403, 407})
_NO_HEAD = frozenset({400, 403, 405, 501})
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How a list's addresses are fetched.

    Attributes:
        per_host: requests in flight to one host.
        private: allow addresses that are not public.
        heed_opt_outs: leave out images whose servers ask for it.
    """

    per_host: int = PER_HOST
    private: bool = False
    heed_opt_outs: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of an image without sending it.

    Attributes:
        etag: of the version; where the server gives no answer or refuses, "!" and the reason, which
            no fetched image has.
        size: in bytes, None where the server does not tell.
    """

    etag: str
    size: int | None = None


class HttpClient:
    """The client of one process; made by `client_of`, and used on the event loop of fsspec alone."""

    def __init__(self, options: HttpOptions) -> None:
        """No connection yet. Args: options: for all requests."""
        self._options, self._turns = options, HostTurns(options.per_host)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def facts(self, key: str) -> Facts:
        """Ask for the version of an image: HEAD, or where the server knows none the head of a GET."""

        async def ask(url: str) -> Facts:
            async with self._request("HEAD", url) as answer:
                if answer.status not in _NO_HEAD:
                    return self._facts(answer)
            async with self._request("GET", url) as answer:
                return self._facts(answer)

        found = await self._with_retries(key, ask)
        return Facts(f"!{found.reason}"[:100]) if isinstance(found, FetchFailed) else found

    async def fetch(self, key: str, max_bytes: int | None) -> Fetched | FetchFailed:
        """An image's bytes, or why there are none."""

        async def get(url: str) -> Fetched:
            async with self._request("GET", url) as answer:
                self._check(answer)
                if self._options.heed_opt_outs and (word := opt_out(answer.headers.getall("X-Robots-Tag", []))):
                    raise _Final(f"its server asks not to take it (X-Robots-Tag: {word})")
                data = await _body(answer, LARGEST if max_bytes is None else max_bytes)
                return Fetched(key, data, etag_of(answer.headers), modified_ns_of(answer.headers))

        return await self._with_retries(key, get)

    def _request(self, method: str, url: str) -> Any:
        if self._session is None:
            limits: dict[str, Any] = {"limit": IN_ALL, "limit_per_host": self._options.per_host}
            if not self._options.private:
                limits["socket_factory"] = public_socket
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(**limits),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={
                    "User-Agent": f"{AGENT}/{_version()}",
                    "Accept": "image/*,*/*;q=0.5",
                    "Accept-Encoding": "identity",  # packed, an image would have another ETag and another length
                },
                timeout=aiohttp.ClientTimeout(None, None, _SILENT_SECONDS, _CONNECT_SECONDS),
                auto_decompress=False,
                requote_redirect_url=False,
            )
        return self._session.request(method, URL(url, encoded=True), max_redirects=_REDIRECTS + 1, allow_redirects=True)

    def _facts(self, answer: aiohttp.ClientResponse) -> Facts:
        self._check(answer)
        return Facts(etag_of(answer.headers), size_of(answer.headers))

    def _check(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status in (200, 203):
            return
        phrase = _PHRASES.get(answer.status, "")
        reason = f"its server answered {answer.status} {phrase}".rstrip()
        if answer.status >= 500 or answer.status in _TRANSIENT:
            raise _Transient(reason, retry_after(answer.headers))
        raise _Final(reason, refused=answer.status in _REFUSED)

    async def _with_retries(self, key: str, call: Callable[[str], Awaitable[T]]) -> T | FetchFailed:
        """The result of `call`, given the key's address; tried again where that may help, once the server permits."""
        try:
            url = url_of_key(key)
        except ValueError as e:
            return FetchFailed(key, str(e))
        host, reason = urlsplit(url).netloc, "its server gave no answer lately"
        for attempt in range(1, ATTEMPTS + 1):
            if attempt > 1:
                await asyncio.sleep(wait_before(attempt + 1))
            if not await self._turns.may_begin(host):
                break
            try:
                async with self._turns.turn(host), asyncio.timeout(_ATTEMPT_SECONDS):
                    return await call(url)
            except _Transient as e:
                reason = str(e)
                if e.wait is not None:
                    self._turns.hold(host, e.wait)
            except Exception as e:  # whatever a foreign server makes a parser raise concerns this object
                failed = _failure(key, e)
                if not failed.transient:
                    return failed
                reason = failed.reason
                if attempt == ATTEMPTS and isinstance(e, aiohttp.ClientConnectorError):
                    self._turns.mark_down(host)
        return FetchFailed(key, reason, transient=True)


class _Final(Exception):
    """An answer that another try would not change."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


class _Transient(Exception):
    """An answer that another try may change, after `wait` seconds where the server says so."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def _failure(key: str, error: Exception) -> FetchFailed:
    if isinstance(error, _Final):
        return FetchFailed(key, str(error), refused=error.refused)
    if isinstance(error, aiohttp.TooManyRedirects):
        return FetchFailed(key, "its server redirects in a circle, or too often")
    if isinstance(error, aiohttp.NonHttpUrlClientError | aiohttp.InvalidURL):
        return FetchFailed(key, "it is, or is redirected to, no valid http or https address")
    if isinstance(error, aiohttp.ClientConnectorError):
        if NOT_PUBLIC in str(error.os_error):
            return FetchFailed(key, NOT_PUBLIC)
        return FetchFailed(key, "its server cannot be reached", transient=True)
    if isinstance(error, TimeoutError):
        return FetchFailed(key, "its server did not answer in time", transient=True)
    return FetchFailed(key, f"{type(error).__name__} while reading", transient=not isinstance(error, ValueError))


async def _body(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """The body, unpacked; no more than about twice `most` bytes of it are ever held."""
    size = answer.content_length
    if size is not None and (large := too_large(size, most)):
        raise _Final(large)
    data = bytearray()
    async for chunk in answer.content.iter_chunked(1 << 18):
        data += chunk
        if len(data) > most:
            raise _Final(f"it has more than {most} bytes")
    packing = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if packing in ("", "identity"):
        return bytes(data)
    if packing not in ("gzip", "x-gzip", "deflate"):
        raise _Final(f"its server packs it as {packing[:20]!r} without being asked to")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib
    try:
        plain = unpack.decompress(data, most + 1)
    except zlib.error:
        raise _Final("its server packed it wrongly") from None
    if len(plain) > most:
        raise _Final(f"it has more than {most} bytes")
    if not unpack.eof:
        raise _Transient("its server packed it wrongly")
    return plain


_CLIENTS: dict[tuple[int, HttpOptions], HttpClient] = {}
_LOCK = threading.Lock()


def client_of(options: HttpOptions) -> HttpClient:
    """The client of this process for these options; a forked process gets its own."""
    with _LOCK:
        return _CLIENTS.setdefault((os.getpid(), options), HttpClient(options))


@atexit.register
def close_clients() -> None:
    """Close the connections of this process; a later request opens new ones."""
    with _LOCK:
        mine = [key for key in _CLIENTS if key[0] == os.getpid()]
        for client in [_CLIENTS.pop(key) for key in mine]:
            with suppress(Exception):  # at the end of the process nobody is helped by an error
                start(client.close()).result(2.0)


def start(work: Coroutine[Any, Any, T]) -> "Future[T]":
    """Begin work of a client on its event loop, from any thread."""
    return asyncio.run_coroutine_threadsafe(work, fsspec.asyn.get_loop())


def _version() -> str:
    try:
        return version("maepress")
    except PackageNotFoundError:
        return "0"
