"""A proxy in front of an S3 server that sees every request, and can spoil it: what networks and busy servers do.

    with Proxy(server.endpoint, Mishaps(seed=1, share=0.05)) as proxy:
        os.environ["AWS_ENDPOINT_URL"] = proxy.endpoint
        ...
    proxy.spoiled                       # Counter({Mishap.BUSY: 12, ...})

It reads a request whole, and the answer whole, before it passes either on: a request is spoiled or it is not.
Signatures stay valid, as nothing of a request is changed.
"""

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from urllib.parse import unquote, urlsplit


class Mishap(Enum):
    """What may happen to a request."""

    ERROR = "500 InternalError"
    BUSY = "503 SlowDown"
    RESET = "connection reset before the server heard of it"
    LOST = "connection reset after the server did it"
    STALL = "no answer for a while, then a reset"
    CUT = "body of the answer cut in half"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the proxy saw it.

    Attributes:
        method: "GET", "PUT" ...
        path: /BUCKET/KEY, unquoted.
        query: as sent.
        body: bytes sent along.
    """

    method: str
    path: str
    query: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said: status line and headers without the blank line, and the body."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        """200, 404 ..."""
        return int(self.head.split(b" ", 2)[1])


class Mishaps:
    """Spoils a share of all requests, each in a way drawn by lot.

    Which request gets which lot depends on the order in which they come; the lots depend on the seed alone.
    """

    def __init__(self, seed: int, share: float, kinds: tuple[Mishap, ...] = tuple(Mishap)) -> None:
        """Args: seed: of the lots. share: of the requests, 0..1. kinds: those that may be drawn."""
        self._lots, self._share, self._kinds = random.Random(seed), share, kinds

    def __call__(self, request: Request) -> Mishap | None:
        return self._lots.choice(self._kinds) if self._lots.random() < self._share else None


def _change_nothing(request: Request, answer: Answer) -> Answer:
    return answer


class Proxy:
    """Runs in a thread of its own for the length of a `with` block.

    Attributes:
        mishap: asked for each request; None lets it pass. May be exchanged while the proxy runs.
        before: called with each request before the server hears of it; runs in the proxy's thread and holds it up.
        after: called with each request and its answer before the client hears of it; returns the answer to give.
        stall_seconds: how long `Mishap.STALL` says nothing.
        delay_seconds: before each request is passed on, as the way to a distant server takes.
        seen: number of requests.
        spoiled: number of requests by mishap.
    """

    def __init__(
        self, server: str, mishap: Callable[[Request], Mishap | None] = lambda request: None, stall_seconds: float = 1.0
    ) -> None:
        """Args: server: http://HOST:PORT. mishap, stall_seconds: see the class."""
        self._host, self._port = urlsplit(server).hostname, urlsplit(server).port
        self.mishap = mishap
        self.stall_seconds = stall_seconds
        self.delay_seconds = 0.0
        self.before: Callable[[Request], None] = lambda request: None
        self.after: Callable[[Request, Answer], Answer] = _change_nothing
        self.seen = 0
        self.spoiled: Counter[Mishap] = Counter()
        self.endpoint = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="proxy", daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._ended.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The requests of one connection, one after the other."""
        # A client that dies in the middle, a server that is down and the end of the proxy end the connection, no more.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._exchange(reader, writer):
                pass
        writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection may serve another one."""
        head = await reader.readuntil(b"\r\n\r\n")
        headers = _headers(head)
        if headers.get(b"expect", b"").lower() == b"100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:"))
        raw = await _body(reader, headers)
        method, target, _ = head.split(b" ", 2)
        path, _, query = target.decode("ascii").partition("?")
        request = Request(method.decode("ascii"), unquote(path), query, raw)
        self.seen += 1
        mishap = self.mishap(request)
        if mishap is not None:
            self.spoiled[mishap] += 1
        if mishap in (Mishap.ERROR, Mishap.BUSY):
            writer.write(_failure(mishap, request.method))
            await writer.drain()
            return True
        if mishap is Mishap.STALL:
            await asyncio.sleep(self.stall_seconds)
        if mishap in (Mishap.STALL, Mishap.RESET):
            writer.transport.abort()
            return False
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        self.before(request)
        answer = self.after(request, await self._ask(request.method, head + raw))
        if mishap is Mishap.LOST:
            writer.transport.abort()
            return False
        cut = mishap is Mishap.CUT
        writer.write(answer.head + b"\r\n\r\n" + (answer.body[: len(answer.body) // 2] if cut else answer.body))
        await writer.drain()
        return not cut and b"connection: close" not in answer.head.lower()

    async def _ask(self, method: str, message: bytes) -> Answer:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(message)
            await writer.drain()
            head = b"HTTP/1.1 100"
            while head.startswith(b"HTTP/1.1 100"):
                head = await reader.readuntil(b"\r\n\r\n")
            headers = _headers(head)
            silent = method == "HEAD" or head.split(b" ", 2)[1] in (b"204", b"304")
            return Answer(head.removesuffix(b"\r\n\r\n"), b"" if silent else await _body(reader, headers, answer=True))
        finally:
            writer.close()


def _headers(head: bytes) -> dict[bytes, bytes]:
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:] if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _body(reader: asyncio.StreamReader, headers: dict[bytes, bytes], answer: bool = False) -> bytes:
    """The raw bytes of a body, chunk sizes included."""
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        raw = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            raw += line
            if not size:
                break
            raw += await reader.readexactly(size + 2)
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":  # trailers
            raw += line
        return raw + line
    if b"content-length" in headers:
        return await reader.readexactly(int(headers[b"content-length"]))
    return await reader.read() if answer else b""


def _failure(mishap: Mishap, method: str) -> bytes:
    status, code = mishap.value.split(" ")
    body = f"<Error><Code>{code}</Code><Message>made by the proxy</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + (b"" if method == "HEAD" else body)
