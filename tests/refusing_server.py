"""An S3 server that refuses objects or folders, as Amazon's does: with its status, code and message.

with RefusingServer({"a.png": data}) as server:
    server.refused["a.png"] = EXPIRED
    os.environ["AWS_ENDPOINT_URL"] = server.endpoint
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of Amazon S3 to a GET."""

    status: int
    code: str
    message: str


DENIED = Refusal(403, "AccessDenied", "Access Denied")
ARCHIVED = Refusal(403, "InvalidObjectState", "The operation is not valid for the object's storage class")
EXPIRED = Refusal(400, "ExpiredToken", "The provided token has expired.")
NO_KEY = Refusal(400, "KMS.DisabledException", "arn:aws:kms:eu-west-1:1:key/1 is disabled.")
GONE_KEY = Refusal(400, "KMS.KMSInvalidStateException", "arn:aws:kms:eu-west-1:1:key/1 is pending deletion.")
REFUSALS = (DENIED, ARCHIVED, EXPIRED, NO_KEY, GONE_KEY)


class RefusingServer:
    """Serves one bucket, `bucket`, with these objects.

    Attributes:
        refused: refusals by key, or by the prefix of a folder that cannot be listed; may be changed.
        endpoint: its URL.
    """

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects, self.refused = dict(objects), dict[str, Refusal]()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "RefusingServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def listed(self, prefix: str, delimiter: str) -> bytes:
        """The only page of a listing."""
        files, folders = "", dict[str, None]()
        for key in sorted(key for key in self.objects if key.startswith(prefix)):
            name, slash, _ = key[len(prefix) :].partition("/")
            if delimiter and slash:
                folders[f"{prefix}{name}/"] = None
            else:
                files += (
                    f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key])}</Size>"
                    f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{etag(self.objects[key])}&quot;"
                    "</ETag></Contents>"
                )
        common = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders)
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{files}{common}</ListBucketResult>".encode()


def etag(data: bytes) -> str:
    """An object's etag."""
    return md5(data, usedforsecurity=False).hexdigest()


def _handler(server: RefusingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            key, query = unquote(parts.path).removeprefix("/bucket").lstrip("/"), parse_qs(parts.query)
            if "list-type" in query:
                prefix, delimiter = (query.get(name, [""])[0] for name in ("prefix", "delimiter"))
                refusal = server.refused.get(prefix)
                body = server.listed(prefix, delimiter)
            else:
                refusal = server.refused.get(key)
                body = server.objects.get(key, b"")
            if refusal is not None:
                text = f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>"
                self._answer(refusal.status, text.encode(), "-")
            else:
                self._answer(200, body, etag(body))

        def _answer(self, status: int, body: bytes, tag: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{tag}"')
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
