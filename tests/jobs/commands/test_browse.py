"""The viewer over a real archive: a real server, real requests, and a real browser."""

import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

from jobs.cli import main
from jobs.web.viewer.app import make_app
from jobs.web.viewer.catalogue import Catalogue
from jobs.web.viewer.headers import LOOPBACK
from jobs.web.viewer.links import crumbs, link
from jobs.web.viewer.renditions import Wanted, tag_of
from jobs.web.viewer.server import viewer_server
from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.reader import mae_file
from pipeline.archive.receipt import Rejection
from tests.browser import chromium, opened
from tests.pipeline.making import add, compressed, image_file, original, transcoded
from tests.waiting import wait_for

EVIL = "b/<script>alert(1)</script>'\"&.png"
PLAIN = [f"a/{n}.png" for n in range(6)]
OUTSIDE, KEPT, JPEG, DAMAGED = "../outside.png", "kept/scan.tif", "kept/small.jpg", "z/damaged.png"


@dataclass(frozen=True)
class Served:
    """A running viewer."""

    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **headers: str) -> "Reply":
        """One request; the path is sent unchanged."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=200)
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        reply = Reply(response.status, dict((k.lower(), v) for k, v in response.getheaders()), response.read())
        connection.close()
        return reply


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, tiny_codec: Codec) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("viewer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        fill(folder, tiny_model_folder, tiny_codec)
        app = make_app(str(folder / "archive"), source=str(folder / "source"), workers=2, hosts=LOOPBACK)
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        server = viewer_server(app)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        wait_for(lambda: server.started)
        yield Served(listener.getsockname()[1], folder)
        server.should_exit = True
        thread.join()


def fill(folder: Path, model: Path, codec: Codec) -> None:
    """An archive with all kinds of rows that real ones have, and its source."""
    archive = Archive.create(str(folder / "archive"))
    archive.put_model(codec.fingerprint, model)
    config = archive.root.child(f"models/{codec.fingerprint}")
    described = json.loads(config.get("config.json"))
    config.put("config.json", json.dumps(described | {"notes": {"name": "small"}}).encode())
    sources = {key: image_file("PNG", seed=i, size=(96, 64)) for i, key in enumerate([*PLAIN, EVIL, OUTSIDE, DAMAGED])}
    turned = Image.Exif()
    turned[0x0112] = 6
    sources["turned.jpg"] = image_file("JPEG", size=(96, 64), exif=turned.tobytes())
    rows = [compressed(codec, key, data) for key, data in sources.items()]
    rows[0]["ssimulacra2"] = 81.236
    damaged = next(row for row in rows if row["key"] == DAMAGED)
    damaged["payload"] = damaged["payload"][:-9]
    jpeg = image_file("JPEG", quality=90, size=(200, 160))
    rows += [original(KEPT, b"II*\0" * 99, kept="more than 8 bits a channel"), transcoded(JPEG, jpeg)]
    refused = [Rejection("broken/a.jpg", "e", "read", "empty file"), Rejection("broken/b", "e", "fetch", "forbidden")]
    add(archive, sorted(rows, key=lambda row: row["key"].encode()), rejections=refused)
    for key, data in {**sources, JPEG: jpeg}.items():
        path = folder / "source" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "source" / PLAIN[5]).write_bytes(sources[PLAIN[0]])  # changed since


def test_an_image_is_what_the_codec_decodes(served: Served, tiny_codec: Codec) -> None:
    row = Archive.open(str(served.folder / "archive")).row(PLAIN[0])
    assert row is not None
    (expected,) = tiny_codec.decompress([row["payload"]])
    reply = served.get(f"/image/{PLAIN[0]}?format=png")
    assert (reply.status, reply.headers["content-type"]) == (200, "image/png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(reply.body))), expected.pixels)
    small = Image.open(io.BytesIO(served.get(f"/image/{PLAIN[0]}?format=webp&width=48").body))
    assert (small.format, small.size) == ("WEBP", (48, 32))
    mae = served.get(f"/image/{PLAIN[0]}?format=mae&download=1")
    assert mae.body == mae_file(row)
    assert mae.headers["content-disposition"] == "attachment; filename=\"0.mae\"; filename*=UTF-8''0.mae"


def test_a_model_is_shown_by_its_name(served: Served, tiny_codec: Codec) -> None:
    assert f'<dd class="mono">small {tiny_codec.fingerprint}</dd>' in served.get(f"/view/{PLAIN[0]}").body.decode()


def test_measurements_are_on_the_pages(served: Served) -> None:
    assert "<dt>SSIMULACRA2</dt><dd>81.24</dd>" in served.get(f"/view/{PLAIN[0]}").body.decode()
    assert "SSIMULACRA2" not in served.get(f"/view/{PLAIN[1]}").body.decode()
    assert "<dt>SSIMULACRA2</dt><dd>81.2<small>" in served.get("/").body.decode()


def test_a_browser_that_knows_an_image_gets_304_and_every_form_has_its_own_tag(served: Served) -> None:
    paths = [f"/image/{key}?format={kind}&width=32" for key in PLAIN[:2] for kind in ("png", "webp")]
    replies = [served.get(path) for path in (*paths, paths[0] + "0")]
    tags = [reply.headers["etag"] for reply in replies]
    assert len(set(tags)) == 5 and all(tag.startswith('"') for tag in tags)
    again = served.get(paths[0], if_none_match=f'"other", W/{tags[0]}')
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tags[0])
    assert "max-age" in again.headers["cache-control"]
    assert served.get(paths[0], if_none_match=tags[1]).status == 200


def test_a_row_that_is_compressed_again_has_another_tag(served: Served) -> None:
    row = Archive.open(str(served.folder / "archive")).row(PLAIN[0])
    assert row is not None
    wanted = Wanted("webp", 64)
    others = [row | change for change in ({"model": "0" * 16}, {"quality": 41.0}, {"source_sha256": "0" * 64})]
    assert len({tag_of(r, wanted) for r in (row, *others)}) == 4


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/image/a/0.png?format=gif", 400),
        ("/image/a/0.png?width=15", 400),
        ("/image/a/0.png?width=16384", 400),
        ("/image/a/0.png?width=1e3", 400),
        ("/image/a/0.png?format=mae&width=64", 400),
        ("/image/a/0.png?format=source", 415),
        ("/image/a/none.png", 404),
        ("/image/", 404),
        ("/image/%FF%00", 404),
        ("/image/../../../etc/passwd", 404),
        ("/image//etc/passwd", 404),
        ("/image?key=/etc/passwd", 404),
        ("/static/../app.py", 404),
        ("/static/..%2Fapp.py", 404),
        ("/original?key=../outside.png", 415),
        ("/original/a/5.png", 415),
        ("/original/kept/scan.tif", 415),
        (f"/image/{KEPT}?width=64", 415),
        (f"/image/{DAMAGED}", 500),
        ("/?q=" + "x" * 3000, 400),
    ],
)
def test_an_impossible_request_is_refused_in_one_line(served: Served, path: str, status: int) -> None:
    reply = served.get(path)
    assert reply.status == status
    assert b"Traceback" not in reply.body
    assert reply.headers["content-security-policy"].startswith("default-src 'none'")
    if path.startswith(("/image", "/original")):
        assert reply.body.count(b"\n") == 1


def test_a_key_that_no_path_can_hold_is_reached_by_a_parameter(served: Served) -> None:
    assert link("image", OUTSIDE, width=32) == "/image?key=..%2Foutside.png&width=32"
    assert served.get(link("image", OUTSIDE, width=32)).status == 200
    assert served.get(link("image", EVIL, width=32)).status == 200
    assert link("view", "a//b") == "/view?key=a%2F%2Fb"
    assert crumbs("a/b/") == [("a", "a/"), ("b", "a/b/")]


def test_the_source_is_shown_only_while_it_is_the_one_that_was_compressed(served: Served) -> None:
    reply = served.get(f"/original/{PLAIN[1]}?format=png")
    assert reply.status == 200
    source = Image.open(served.folder / "source" / PLAIN[1])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(reply.body))), np.asarray(source))
    assert b"has changed" in served.get(f"/original/{PLAIN[5]}").body


def test_what_is_kept_comes_back_byte_for_byte(served: Served) -> None:
    reply = served.get(f"/image/{JPEG}?download=1")
    assert reply.body == (served.folder / "source" / JPEG).read_bytes()
    assert reply.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(served.get(f"/image/{JPEG}?width=100").body)).size == (100, 80)
    assert served.get(f"/image/{KEPT}").body == b"II*\0" * 99


def test_an_image_is_turned_upright_when_it_is_shrunk_and_stored_as_it_was_otherwise(served: Served) -> None:
    assert Image.open(io.BytesIO(served.get("/image/turned.jpg?width=4096").body)).size == (64, 96)
    whole = Image.open(io.BytesIO(served.get("/image/turned.jpg?format=jpeg").body))
    assert (whole.size, whole.getexif()[0x0112]) == ((96, 64), 6)


def test_only_names_of_this_machine_are_answered(served: Served) -> None:
    assert served.get("/", host="evil.example").status == 421
    assert served.get("/", host="127.0.0.1.evil.example:80").status == 421
    assert served.get("/", host="localhost:8757").status == 200
    assert served.get("/", host="[::1]:8757").status == 200


def test_two_hundred_requests_at_once_lose_none(served: Served) -> None:
    paths = [f"/image/{key}?format=webp&width={width}" for width in range(40, 74) for key in PLAIN]
    paths = paths[:200]
    with ThreadPoolExecutor(200) as pool:
        replies = list(pool.map(served.get, paths))
    assert [reply.status for reply in replies] == [200] * 200
    widths = [Image.open(io.BytesIO(reply.body)).width for reply in replies]
    assert widths == [int(path.rpartition("=")[2]) for path in paths]


def test_pages_come_in_key_order_and_search_takes_any_text(served: Served) -> None:
    home = served.get("/").body.decode()
    assert home.index("a/0.png") < home.index("a/5.png") < home.index(KEPT)
    assert "1 shard" in home and ">rejected<" in home
    inside = served.get("/?prefix=a/&after=a/3.png").body.decode()
    assert "a/4.png" in inside and "a/3.png&#34;" not in inside and KEPT not in inside
    found = served.get("/?q=" + quote("ALERT(1)</script>'\"")).body.decode()
    assert link("view", EVIL).replace("&", "&amp;") in found and "a/0.png" not in found
    assert "No key contains" in served.get("/?q=" + quote("' OR 1=1 --")).body.decode()


def test_rejections_are_listed_by_reason(served: Served) -> None:
    every = served.get("/rejections").body.decode()
    assert "read: empty file" in every and "broken/b" in every
    one = served.get("/rejections?reason=" + quote("read: empty file")).body.decode()
    assert "broken/a.jpg" in one and "broken/b" not in one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.mark.parametrize("width", [1280, 400])
def test_the_pages_look_whole_in_a_browser(served: Served, browser: Browser, width: int) -> None:
    with opened(browser, f"{served.url}/?prefix=b/", width) as opened_page:
        opened_page.wait_for_images()
        assert not opened_page.overflows
        assert "script>'\"&.png" in opened_page.page.locator(".key").first.inner_text()
        assert opened_page.errors == []
    with opened(browser, f"{served.url}/rejections", width, "dark") as opened_page:
        assert not opened_page.overflows and opened_page.errors == []


@pytest.mark.parametrize("width", [1280, 400])
def test_the_border_between_source_and_compressed_image_moves_by_key_and_pointer(
    served: Served, browser: Browser, width: int
) -> None:
    with opened(browser, served.url + link("view", EVIL), width) as opened_page:
        page = opened_page.page
        opened_page.wait_for_images()
        assert not opened_page.overflows

        def border() -> float:
            at = "getComputedStyle(document.querySelector('.compare')).getPropertyValue('--at')"
            return float(page.evaluate(f"parseFloat({at})"))

        page.locator(".compare input").focus()
        page.keyboard.press("ArrowRight")
        assert border() == pytest.approx(50.5)
        box = page.locator(".compare").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
        assert 15 < border() < 35
        assert opened_page.errors == []


@pytest.mark.parametrize("width", [1280, 400])
def test_a_source_that_is_gone_leaves_the_compressed_image_at_its_size(
    served: Served, browser: Browser, width: int
) -> None:
    with opened(browser, served.url + link("view", PLAIN[5]), width) as opened_page:
        page = opened_page.page
        page.locator(".stage .missing").wait_for()
        opened_page.wait_for_images()
        assert "it is gone or has changed" in page.locator(".stage .missing").inner_text()
        box = page.locator(".zoom > img").bounding_box()
        assert box is not None and (round(box["width"]), round(box["height"])) == (96, 64)
        assert page.locator(".compare").count() == 0 and not opened_page.overflows


def test_both_pictures_that_cannot_be_shown_become_messages(served: Served, browser: Browser) -> None:
    (served.folder / "source" / DAMAGED).unlink()
    with opened(browser, served.url + link("view", DAMAGED), 1280) as opened_page:
        opened_page.page.get_by_text("The compressed image cannot be shown.").wait_for()
        opened_page.page.get_by_text("The source cannot be shown").wait_for()
        assert opened_page.page.locator(".stage img").count() == 0


@pytest.mark.parametrize("width", [1280, 400])
def test_an_image_page_zooms_to_whole_pixels_without_loss(served: Served, browser: Browser, width: int) -> None:
    with opened(browser, served.url + link("view", PLAIN[0]), width) as opened_page:
        page = opened_page.page
        opened_page.wait_for_images()

        def shown() -> tuple[int, int]:
            box = page.locator(".compare").bounding_box()
            assert box is not None
            return round(box["width"]), round(box["height"])

        for name, times in (("1:1", 1), ("4:1", 4), ("2:1", 2), ("Fit", 1)):
            page.get_by_role("button", name=name, exact=True).click()
            opened_page.wait_for_images()
            assert shown() == (96 * times, 64 * times)
            assert page.locator(".zooms [aria-pressed=true]").inner_text() == name
            assert not opened_page.overflows
        for picture in page.locator(".compare img").all():
            assert "format=png" in (picture.get_attribute("src") or "")
        page.get_by_role("button", name="4:1").click()
        page.keyboard.press("ArrowRight")
        assert page.url.endswith(PLAIN[0]), "arrow keys do not leave a picture that is zoomed"
        assert opened_page.errors == []


def test_next_and_previous_lead_through_the_archive_in_key_order(served: Served, browser: Browser) -> None:
    keys = [row.key for row in Archive.open(str(served.folder / "archive")).rows_by_key()]
    catalogue = Catalogue(str(served.folder / "archive"))
    for before, key, after in zip([None, *keys], keys, [*keys[1:], None], strict=False):
        assert catalogue.neighbours(key) == (before, after)
    assert catalogue.neighbours("a/0") == (OUTSIDE, PLAIN[0]) and catalogue.neighbours("\U0010ffff")[1] is None
    with opened(browser, served.url + link("view", PLAIN[1]), 1280) as opened_page:
        page = opened_page.page
        page.get_by_text("Next").click()
        page.wait_for_url("**/" + PLAIN[2])
        page.keyboard.press("ArrowLeft")
        page.wait_for_url("**/" + PLAIN[1])
        page.locator(".compare input").focus()
        page.keyboard.press("ArrowRight")
        assert page.url.endswith(PLAIN[1]), "there the key moves the border"


def test_neighbours_are_found_across_shards(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path))
    for keys in ("ad", "be", "c"):
        add(archive, [original(key) for key in keys], run=keys)
    catalogue = Catalogue(archive.url)
    found = [catalogue.neighbours(key) for key in ("a", "b", "c", "d", "e", "")]
    assert found == [(None, "b"), ("a", "c"), ("b", "d"), ("c", "e"), ("d", None), (None, "a")]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/view/a/0.webp", ["has no image", "Keys with this name", 'href="/view/a/0.png"']),
        ("/view/a/5zz", ["has no image", "The nearest keys", 'href="/view/a/5.png"']),
        ("/view/broken/a.jpg", ["It was rejected: read: empty file."]),
        ("/view", ["names no image"]),
        ("/views/a/0.png", ["There is no page at /views/a/0.png", 'href="/rejections"']),
        ("/view/" + quote("<b>" + "x" * 999), ["has no image", "&lt;b&gt;"]),
    ],
)
def test_an_address_that_is_wrong_gets_a_page_that_leads_on(served: Served, path: str, says: list[str]) -> None:
    reply = served.get(path)
    text = reply.body.decode()
    assert reply.status == 404 and all(words in text for words in says), text
    assert 'href="/">All images' in text and "<b>" not in text


def test_the_command_prints_its_address_and_ends_at_an_interrupt(served: Served) -> None:
    words = [sys.executable, "-m", "jobs", "browse", str(served.folder / "archive"), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as viewer:
        assert viewer.stdout is not None
        said = re.match(r"http://127\.0\.0\.1:(\d+)/  \(Ctrl-C stops it\)\n", viewer.stdout.readline())
        assert said is not None
        assert Served(int(said[1]), served.folder).get("/").status == 200
        viewer.send_signal(signal.SIGINT)
        assert viewer.wait(60) == 130
        assert viewer.stderr is not None
        assert viewer.stderr.read().strip() == "maepress: interrupted; the archive is no longer served"


def test_mistakes_are_answered_in_one_line(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = str(served.folder / "archive")
    for words, said in (
        ([str(tmp_path / "nothing")], "does not exist"),
        ([archive, "--source", str(tmp_path)], "is empty"),
        ([archive, "--port", str(served.port)], f"cannot listen on 127.0.0.1:{served.port}"),
    ):
        assert main(["browse", *words]) == 2
        error = capsys.readouterr().err
        assert error.startswith("maepress: ") and said in error and error.count("\n") == 1
