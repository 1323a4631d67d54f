"""A proxy in front of an S3 server that counts requests and bytes."""

import contextlib
import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Counted:
    """A running proxy.

    Attributes:
        endpoint: its URL, to use instead of the server's.
        requests: number of requests per method.
        received: total bytes of the answers' bodies.
    """

    endpoint: str = ""
    requests: Counter[str] = field(default_factory=Counter)
    received: int = 0

    def reset(self) -> None:
        """Count from zero."""
        self.requests.clear()
        self.received = 0


@contextlib.contextmanager
def counting_proxy(endpoint: str) -> Iterator[Counted]:
    """Forward requests to `endpoint` (http://host:port) and count them in the `with` block.

    The Host header is passed on unchanged, because it is part of the signature of S3 requests.
    """
    counted = Counted()
    target = urlsplit(endpoint).netloc
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection = http.client.HTTPConnection(target, timeout=60)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            data = answer.read()
            with lock:
                counted.requests[self.command] += 1
                counted.received += len(data)
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(data)
            connection.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    counted.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield counted
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
