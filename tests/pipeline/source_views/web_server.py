"""A web server on loopback whose answers tests set path by path, and which notes every request."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """What a path answers.

    Attributes:
        body: of a GET.
        headers: beside Content-Length.
        status: of the answer.
        seconds: until it is given.
        first: answers to the first requests, in order; this one is for those after them.
        no_head: answer HEAD with 405.
    """

    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    seconds: float = 0.0
    first: "list[Answer]" = field(default_factory=list)
    no_head: bool = False


class WebServer(ThreadingHTTPServer):
    """The server; `answers` by path with query, `requests` as (method, path), `most` requests at one time."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str]] = []
        self.agents: set[str] = set()
        self.now = self.most = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def key(self) -> str:
        """How the keys of its addresses begin."""
        return f"http/127.0.0.1:{self.server_port}"

    def took(self, method: str) -> list[str]:
        """The paths that were asked for by a method since the last call, sorted; all notes are cleared."""
        with self.lock:
            found = sorted(path for by, path in self.requests if by == method)
            self.requests.clear()
        return found

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves early is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer

    def do_GET(self) -> None:
        self._answer(self.server.answers.get(self.path, Answer(status=404)))

    def do_HEAD(self) -> None:
        found = self.server.answers.get(self.path, Answer(status=404))
        self._answer(Answer(status=405) if found.no_head else found)

    def _answer(self, answer: Answer) -> None:
        server = self.server
        with server.lock:
            server.requests.append((self.command, self.path))
            server.agents.add(self.headers["User-Agent"])
            server.now += 1
            server.most = max(server.most, server.now)
            answer = answer.first.pop(0) if answer.first else answer
        time.sleep(answer.seconds)
        with server.lock:
            server.now -= 1
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer.body)
        if not {"Content-Length": "0", **answer.headers}["Content-Length"]:
            self.close_connection = True  # a body without a length ends with the connection

    def log_message(self, format: str, *args: object) -> None:
        """Notes are in `requests`."""


@contextmanager
def web_server() -> Iterator[WebServer]:
    """A running server."""
    with WebServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
