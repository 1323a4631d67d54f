"""A proxy in front of an S3 server that injects faults: errors of networks and of busy servers.

    with Proxy(server.endpoint, RandomFaults(seed=1, share=0.05)) as proxy:
        os.environ["AWS_ENDPOINT_URL"] = proxy.endpoint
        ...
    proxy.faults                        # Counter({Fault.BUSY: 12, ...})

It reads each request, and each answer, completely before it passes it on, so a fault affects exactly one request.
Requests are not changed, so their signatures stay valid.
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


class Fault(Enum):
    """A fault of one request."""

    ERROR = "500 InternalError"
    BUSY = "503 SlowDown"
    RESET = "connection reset before the request reaches the server"
    LOST = "connection reset after the server has executed the request"
    STALL = "no answer for some time, then a reset"
    CUT = "the body of the answer is cut in half"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the proxy received.

    Attributes:
        method: "GET", "PUT" ...
        path: /BUCKET/KEY, unquoted.
        query: as sent.
        body: its bytes.
    """

    method: str
    path: str
    query: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """The server's answer: status line and headers without the blank line, and the body."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        """200, 404 ..."""
        return int(self.head.split(b" ", 2)[1])


class RandomFaults:
    """Picks a random fault for a share of all requests.

    The sequence of faults depends on the seed alone; which request gets which fault depends on their order.
    """

    def __init__(self, seed: int, share: float, kinds: tuple[Fault, ...] = tuple(Fault)) -> None:
        """Args: seed: of the choice. share: of the requests, 0..1. kinds: faults to choose from."""
        self._random, self._share, self._kinds = random.Random(seed), share, kinds

    def __call__(self, request: Request) -> Fault | None:
        return self._random.choice(self._kinds) if self._random.random() < self._share else None


def _change_nothing(request: Request, answer: Answer) -> Answer:
    return answer


class Proxy:
    """Runs in a thread of its own for the length of a `with` block.

    Attributes:
        fault: returns the fault of a request, or None to let it pass. May be replaced while the proxy runs.
        before: called with each request before it is passed on; blocks the proxy's thread.
        after: called with each request and its answer; returns the answer that the client gets.
        stall_seconds: duration of `Fault.STALL`.
        delay_seconds: delay before each request is passed on, like that of a distant server.
        seen: number of requests.
        faults: number of requests per fault.
    """

    def __init__(
        self, server: str, fault: Callable[[Request], Fault | None] = lambda request: None, stall_seconds: float = 1.0
    ) -> None:
        """Args: server: http://HOST:PORT. fault, stall_seconds: see the class."""
        self._host, self._port = urlsplit(server).hostname, urlsplit(server).port
        self.fault = fault
        self.stall_seconds = stall_seconds
        self.delay_seconds = 0.0
        self.before: Callable[[Request], None] = lambda request: None
        self.after: Callable[[Request, Answer], Answer] = _change_nothing
        self.seen = 0
        self.faults: Counter[Fault] = Counter()
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
        """Serve the requests of one connection, one after the other."""
        # A client that dies, a server that is down and the end of the proxy only end this connection.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._exchange(reader, writer):
                pass
        writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; returns whether the connection can be used for another one."""
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
        fault = self.fault(request)
        if fault is not None:
            self.faults[fault] += 1
        if fault in (Fault.ERROR, Fault.BUSY):
            writer.write(_failure(fault, request.method))
            await writer.drain()
            return True
        if fault is Fault.STALL:
            await asyncio.sleep(self.stall_seconds)
        if fault in (Fault.STALL, Fault.RESET):
            writer.transport.abort()
            return False
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        self.before(request)
        answer = self.after(request, await self._ask(request.method, head + raw))
        if fault is Fault.LOST:
            writer.transport.abort()
            return False
        cut = fault is Fault.CUT
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
    """The raw bytes of a body, including chunk sizes."""
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


def _failure(fault: Fault, method: str) -> bytes:
    status, code = fault.value.split(" ")
    body = f"<Error><Code>{code}</Code><Message>made by the proxy</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + (b"" if method == "HEAD" else body)
