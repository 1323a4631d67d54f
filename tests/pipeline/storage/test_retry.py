"""Transient errors are retried: a real S3 server behind a proxy that fails."""

import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from jobs.demo.s3_server import S3Server
from pipeline.storage.open import Fetched, FetchFailed, StorageError
from pipeline.storage.retry import ATTEMPTS
from pipeline.storage.s3.store import S3Store

BODY = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>"
BUSY = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


@dataclass
class Wire:
    """A TCP relay to the server whose next connections fail in a chosen way.

    Attributes:
        port: port to connect to.
        failures: for each of the next connections "busy" (answers 503), "reset" (closes at once) or "cut" (passes
            the head of the answer and half of what follows).
        connections: number of connections so far.
    """

    port: int
    failures: list[str] = field(default_factory=list)
    connections: int = 0


@pytest.fixture
def wire(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    listener = socket.create_server(("127.0.0.1", 0))
    made = Wire(listener.getsockname()[1])
    there = ("127.0.0.1", int(s3.endpoint.rsplit(":", 1)[1]))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            made.connections += 1
            way = made.failures.pop(0) if made.failures else "fine"
            threading.Thread(target=relay, args=(client, there, way), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.port}")
    monkeypatch.setattr("pipeline.storage.retry.FIRST_WAIT", 0.01)
    monkeypatch.setattr("pipeline.storage.retry.LONGEST_WAIT", 0.02)
    yield made
    listener.close()


def relay(client: socket.socket, there: tuple[str, int], way: str) -> None:
    """One request and its answer."""
    with client:
        request = client.recv(1 << 16)
        if way == "busy":
            client.sendall(BUSY)
        if way in ("busy", "reset"):
            return
        with socket.create_connection(there) as server:
            # One request per connection: the relay stays short, and every attempt is a new connection.
            server.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            answer = b""
            while part := server.recv(1 << 16):
                answer += part
        head, end, body = answer.partition(b"\r\n\r\n")
        client.sendall(answer if way == "fine" else head + end + body[: len(body) // 2])


@pytest.fixture
def store(bucket: str, wire: Wire, s3: S3Server) -> S3Store:
    with s3.environment():
        S3Store(bucket).put("k", b"0123456789" * 1000)
    return S3Store(bucket)


@pytest.mark.parametrize("way", ["busy", "reset", "cut"])
def test_a_fetch_that_fails_in_transit_is_retried(store: S3Store, wire: Wire, way: str) -> None:
    wire.failures += [way] * 3
    (got,) = store.fetch(["k"])
    assert isinstance(got, Fetched) and got.data == b"0123456789" * 1000
    assert wire.connections == 4 or way == "reset"  # the HTTP client itself repeats a request that was reset


@pytest.mark.parametrize(
    ("way", "says"), [("busy", "SlowDown"), ("reset", "talking to S3"), ("cut", "(cut short|talking to S3)")]
)
def test_an_outage_is_blamed_on_the_store_and_not_on_the_object(
    store: S3Store, wire: Wire, way: str, says: str
) -> None:
    wire.failures += [way] * 100
    (got,) = store.fetch(["k"])
    assert isinstance(got, FetchFailed) and got.transient
    assert re.search(says, got.reason)
    assert wire.connections in (ATTEMPTS, 2 * ATTEMPTS)  # the HTTP client itself repeats a request that was reset


def test_a_missing_object_is_not_requested_again(store: S3Store, wire: Wire) -> None:
    (got,) = store.fetch(["nope"])
    assert got == FetchFailed("nope", "the object does not exist")
    assert wire.connections == 1


def test_a_listing_goes_on_after_a_failure_in_its_middle(
    store: S3Store, wire: Wire, monkeypatch: pytest.MonkeyPatch, s3: S3Server
) -> None:
    with s3.environment():
        for i in range(30):
            store.put(f"l{i:02d}", b"")
    monkeypatch.setattr("pipeline.storage.s3.store.PAGE_KEYS", 2)
    entries = store.entries()
    found = [next(entries).key]
    wire.failures += ["cut", "busy"]
    assert found + [entry.key for entry in entries] == ["k", *(f"l{i:02d}" for i in range(30))]
    assert wire.failures == []


def test_a_check_of_a_busy_server_fails_soon_with_a_clear_message(store: S3Store, wire: Wire) -> None:
    wire.failures += ["busy"] * 100
    with pytest.raises(StorageError, match="SlowDown"):
        store.check_readable()
    assert wire.connections == 3
