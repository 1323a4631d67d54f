"""Images by Accept header, signed addresses, `/healthz` and `/metrics`."""

import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from jobs.framework.job_client import environment
from jobs.web.viewer.app import make_app
from jobs.web.viewer.negotiation import weight, weights_of
from jobs.web.viewer.signing import VARIABLE, SignedOnly, key_of, signed_address
from model.codec import Codec
from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Rejection
from tests.pipeline.making import add, compressed, image_file, original, transcoded

KEY = b"k" * 32
BROWSER = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, tiny_codec: Codec) -> Archive:
    made = Archive.create(str(tmp_path_factory.mktemp("served") / "archive"))
    made.put_model(tiny_codec.fingerprint, tiny_model_folder)
    rows = [compressed(tiny_codec, "a b.png", image_file("PNG", size=(64, 48)))]
    rows += [
        original("kept.tif", b"II*\0" * 9, kept="mode CMYK"),
        transcoded("photo.jpg", image_file("JPEG", quality=90)),
    ]
    add(made, rows, rejections=[Rejection("x", "e", "read", "empty file")])
    return made


@pytest.fixture(scope="module")
def client(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with TestClient(make_app(archive.url, workers=1)) as client:
            yield client


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (BROWSER, "image/avif"),
        ("image/webp,*/*", "image/webp"),
        ("image/webp;q=0.9, image/jpeg", "image/jpeg"),
        ("image/png", "image/png"),
        ("image/avif;q=0, image/*", "image/webp"),
        ("*/*", "image/webp"),
        ("image/*", "image/webp"),
        ("image/gif;q=broken", "image/webp"),
        ("", "image/webp"),
    ],
)
def test_a_compressed_image_comes_as_the_client_accepts_it(accept: str, expected: str, client: TestClient) -> None:
    reply = client.get("/image/a b.png?width=32", headers={"accept": accept})
    assert (reply.status_code, reply.headers["content-type"], reply.headers["vary"]) == (200, expected, "accept")
    with Image.open(io.BytesIO(reply.content)) as image:
        assert (f"image/{str(image.format).lower()}", image.size) == (expected, (32, 24))


def test_a_kept_source_comes_as_it_is_to_who_accepts_it_and_converted_to_others(client: TestClient) -> None:
    def media(accept: str) -> str:
        return client.get("/image/photo.jpg", headers={"accept": accept}).headers["content-type"]

    assert [media(a) for a in ("*/*", "image/jpeg", "image/png", BROWSER)] == [
        *("image/jpeg", "image/jpeg", "image/png", "image/jpeg")
    ]
    assert client.get("/image/kept.tif", headers={"accept": "application/octet-stream, image/x-any"}).status_code == 406


@pytest.mark.parametrize("accept", ["image/gif", "text/html", "image/webp;q=0"])
def test_who_accepts_no_form_of_an_image_is_told(accept: str, client: TestClient) -> None:
    assert client.get("/image/a b.png", headers={"accept": accept}).status_code == 406


def test_a_format_in_the_address_needs_no_header(client: TestClient) -> None:
    reply = client.get("/image/a b.png?format=avif", headers={"accept": "image/png"})
    assert (reply.headers["content-type"], reply.headers.get("vary")) == ("image/avif", None)


def test_weights_follow_the_most_specific_range() -> None:
    weights = weights_of("image/*;q=0.5, image/png;q=0.1, */*;q=0.2, image/x;q=2, broken")
    assert [weight(m, weights) for m in ("image/png", "image/webp", "text/html")] == [0.1, 0.5, 0.2]
    assert "image/x" not in weights


def test_the_archive_can_be_asked_for_its_health_and_metrics(client: TestClient) -> None:
    assert (client.get("/healthz").status_code, client.get("/healthz").text) == (200, "ok\n")
    client.get("/image/no-such-key?format=png")
    reply = client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(reply.text)}
    values = {name: family.samples[0].value for name, family in families.items() if family.type == "gauge"}
    assert (values["maepress_archive_images"], values["maepress_archive_rejected"]) == (3, 1)
    assert abs(values["maepress_archive_changed_timestamp_seconds"] - time.time()) < 600
    answered = {tuple(s.labels.values()): s.value for s in families["maepress_viewer_requests"].samples}
    assert answered["healthz", "200"] == 2 and answered["image", "404"] >= 1
    buckets = [s for s in families["maepress_viewer_request_seconds"].samples if s.labels["page"] == "healthz"]
    counts = [s.value for s in buckets if s.name.endswith("_bucket")]
    assert counts == sorted(counts) and counts[-1] == 2


def test_an_archive_that_cannot_be_read_is_not_healthy(tmp_path: Path) -> None:
    made = Archive.create(str(tmp_path / "archive"))
    with TestClient(make_app(made.url, workers=1)) as client:
        (tmp_path / "archive" / "images").rename(tmp_path / "gone")
        assert client.get("/healthz").status_code in (500, 503)


def test_only_signed_addresses_of_images_are_answered_where_there_is_a_key(archive: Archive) -> None:
    with TestClient(make_app(archive.url, workers=1, url_key=KEY)) as client:
        soon = int(time.time()) + 60
        good = signed_address("/image/a%20b.png?width=32&format=png", soon, KEY)
        assert client.get(good).status_code == 200
        assert client.get(good.replace("width=32", "width=33")).status_code == 403
        assert client.get(good.replace("a%20b", "photo")).status_code == 403
        assert client.get(good.replace(f"expires={soon}", f"expires={soon + 1}")).status_code == 403
        assert client.get(good.replace("&signature=", "&signature=0")).status_code == 403
        assert client.get(signed_address("/image/a%20b.png?width=32", int(time.time()) - 1, KEY)).status_code == 403
        assert client.get(signed_address("/image/a%20b.png", soon, b"o" * 32)).status_code == 403
        assert {client.get(page).status_code for page in ("/", "/view/a b.png", "/image/a b.png", "/rejections")} == {
            403
        }
        assert client.get(signed_address("/view/a%20b.png", soon, KEY)).status_code == 403
        assert [client.get(page).status_code for page in ("/healthz", "/metrics")] == [200, 200]


def test_an_expired_address_is_told_from_a_forged_one(archive: Archive) -> None:
    app = make_app(archive.url, workers=1)
    with TestClient(SignedOnly(app, KEY, clock=lambda: 1000.0)) as client:
        assert client.get(signed_address("/image/a%20b.png?format=mae", 1001, KEY)).status_code == 200
        assert client.get(signed_address("/image/a%20b.png?format=mae", 1000, KEY)).text == "this address has expired\n"
        assert client.get("/image/a%20b.png?expires=1001&signature=").text == "this address is not signed\n"


def test_a_signature_can_be_made_by_other_programs() -> None:
    # printf '%s' '/image/a%20b.png?expires=1000&width=32' | openssl dgst -sha256 -hmac KEY
    address = signed_address("https://example.org/image/a%20b.png?width=32", 1000, b"0123456789abcdef0123456789abcdef")
    assert address == (
        "https://example.org/image/a%20b.png?width=32&expires=1000&signature="
        "c736336b85ead3d8f1280ee1f98a7b78ce901faee19114fd0c6547702f099f35"
    )


def test_a_key_is_long_comes_from_the_environment_and_is_not_sent_to_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert key_of({}) is None and key_of({VARIABLE: "k" * 32}) == KEY
    with pytest.raises(MaepressError, match="at least 32 characters"):
        key_of({VARIABLE: "short"})
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(MaepressError, match=f"^{VARIABLE} is not set"):
        signed_address("/image/a", 1)
    passed = environment({VARIABLE: "k" * 32, "MAEPRESS_QUALITY": "40"}, "")["env_vars"]
    assert passed == {"MAEPRESS_QUALITY": "40"}
