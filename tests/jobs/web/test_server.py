"""The viewer's server under hostile clients and over archives that others made."""

import html
import http.client
import io
import logging
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from PIL import Image
from starlette.types import ASGIApp, Receive, Scope, Send

from jobs.web.viewer.app import make_app
from jobs.web.viewer.headers import ALWAYS, Guard
from jobs.web.viewer.server import viewer_server
from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.model_store import cached_model
from tests.pipeline.making import add, compressed, image_file, original
from tests.waiting import wait_for

LIMIT, SECONDS = 20, 1.0


@contextmanager
def serving(app: ASGIApp, most: int | None = LIMIT) -> Iterator[int]:
    """The port of a server for the length of a `with` block."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = viewer_server(app, most=most, seconds=SECONDS)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


async def pages(scope: Scope, receive: Receive, send: Send) -> None:
    """An app: a greeting; at /large, more than a socket's buffers hold; at /broken, an error."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/broken":
        raise ZeroDivisionError("secret")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": bytes(64 << 20) if scope["path"] == "/large" else b"hello"})


@pytest.fixture
def port() -> Iterator[int]:
    with serving(Guard(pages, ())) as port:
        yield port


def answer(port: int, path: str = "/") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    got = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    connection.close()
    return got


def is_answered(port: int) -> bool:
    try:
        return answer(port)[2] == b"hello"
    except (OSError, http.client.HTTPException):  # closed at once: there are too many connections
        return False


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed a connection to which it owes no answer."""
    connection.settimeout(0.05)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def is_closed_at_last(connection: socket.socket) -> bool:
    """Whether the server closes a connection within a minute."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a header"])
def test_half_open_connections_do_not_stop_the_server(port: int, said: bytes) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(10 * LIMIT)]
        for connection in held:
            try:
                connection.sendall(said)
            except OSError:
                continue  # closed
        wait_for(lambda: sum(map(is_closed, held)) >= 9 * LIMIT)
        wait_for(lambda: is_answered(port))
        wait_for(lambda: all(map(is_closed, held)))


def test_a_header_that_comes_in_drops_is_not_waited_for(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        started = time.monotonic()
        with pytest.raises(OSError):
            for _ in range(600):
                connection.sendall(b"GET / HTTP/1.1\r\nX: 1\r\n"[:1])
                time.sleep(0.1)
        assert time.monotonic() - started < 30


def test_a_second_request_that_never_ends_is_not_waited_for(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.settimeout(60)
        text = b""
        while not text.endswith(b"hello\r\n0\r\n\r\n"):
            text += connection.recv(1 << 16)
        connection.sendall(b"GET / HTTP/1.1\r\n")
        assert is_closed_at_last(connection)


def test_a_client_that_takes_nothing_of_an_answer_is_not_waited_for(port: int) -> None:
    with ExitStack() as stack:
        for _ in range(LIMIT):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: is_answered(port))


def test_every_error_has_the_security_headers(port: int) -> None:
    status, headers, body = answer(port, "/broken")
    assert (status, b"secret" in body, b"Traceback" in body) == (500, False, False)
    assert ALWAYS.items() <= headers.items()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"no HTTP at all\r\n\r\n")
        connection.settimeout(60)
        text = b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode()
    assert text.startswith("HTTP/1.1 400 ")
    assert all(f"\r\n{name}: {value}\r\n" in text for name, value in ALWAYS.items())


def test_an_error_that_nobody_expected_is_one_line_of_log(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer(port, "/broken")
    assert [r.getMessage() for r in caplog.records] == [
        "the viewer failed to answer a request: secret (ZeroDivisionError)"
    ]
    assert caplog.records[0].exc_info is None


def test_the_command_lives_through_more_connections_than_it_has_descriptors(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, [original("a", b"bytes")])
    words = [sys.executable, "-m", "jobs", "browse", archive.url, "--port", "0"]
    limits = (260, 260)
    with (
        subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits),
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        ) as viewer,
        ExitStack() as stack,
    ):
        assert viewer.stdout is not None and viewer.stderr is not None
        said = re.match(r"http://127\.0\.0\.1:(\d+)/", viewer.stdout.readline())
        assert said is not None
        port = int(said[1])
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(400)]
        wait_for(lambda: sum(map(is_closed, held)) >= 300)
        for connection in held[:100]:
            connection.close()
        wait_for(lambda: answers_home(port))
        viewer.send_signal(signal.SIGINT)
        assert viewer.wait(60) == 130
        assert viewer.stderr.read().strip() == "maepress: interrupted; the archive is no longer served"


def answers_home(port: int) -> bool:
    try:
        return answer(port)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (15, 3), (16, 16), (40, 7)])
def test_the_page_of_a_narrow_picture_asks_for_what_is_given(
    size: tuple[int, int], tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec
) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    add(archive, [compressed(tiny_codec, "a.png", image_file("PNG", size=size))])
    with serving(make_app(archive.url, workers=1), None) as port:
        page = html.unescape(answer(port, "/view/a.png")[2].decode())
        asked = re.findall(r'(?:src|data-whole)="(/image/[^"]+)"', page)
        assert len(asked) == 2
        for address in asked:
            status, _, body = answer(port, address)
            assert status == 200 and Image.open(io.BytesIO(body)).size == size, (address, body)


def test_pictures_that_others_made_are_shown_or_refused_and_no_500(
    tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec
) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    cached_model(archive.root.child(f"models/{tiny_codec.fingerprint}"), tiny_codec.fingerprint)
    good = compressed(tiny_codec, "good.png", image_file("PNG", size=(96, 64)))
    tall = compressed(tiny_codec, "tall.png", image_file("PNG", size=(20, 16_400)))
    odd = {
        "exif.png": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\xff\xff\xff\xff"},
        "noise.png": {"exif": os.urandom(300)},
        "long.png": {"exif": b"Exif\0\0" + bytes(70_000)},
        "icc.png": {"icc": b"no profile"},
        "xmp.png": {"xmp": b"\xff\xfe<x"},
    }
    add(archive, [good, tall, *(good | {"key": key} | change for key, change in odd.items())])
    add(archive, [original("zz/lost", b"bytes")], run="lost")
    with serving(make_app(archive.url, workers=1), None) as port:
        for key in odd:
            for form in ("webp", "png", "jpeg", "webp&width=48", "png&width=48", "jpeg&width=48"):
                status, headers, body = answer(port, f"/image/{key}?format={form}")
                assert status == 200, (key, form, body)
                assert Image.open(io.BytesIO(body)).width in (96, 48)
        for form, width, height in (
            ("webp&width=360", 20, 16_383),
            ("webp", 20, 16_400),
            ("jpeg&width=16", 16, 13_120),
        ):
            status, headers, body = answer(port, f"/image/tall.png?format={form}")
            assert status == 200, body
            shown = Image.open(io.BytesIO(body))
            assert shown.size == (width, height)
            assert headers["content-type"] == ("image/png" if form == "webp" else f"image/{form.split('&')[0]}")
        (lost,) = [shard.path for shard in archive.shards() if shard.first_key == "zz/lost"]
        (tmp_path / "archive" / "images" / lost).unlink()
        for path in ("/view/zz/lost", "/image/zz/lost", "/?prefix=zz/", "/?q=lost"):
            status, headers, body = answer(port, path)
            assert (status, ALWAYS.items() <= headers.items(), b"Traceback" in body) == (503, True, False), path
        assert answer(port, "/image/good.png?format=png")[0] == 200
