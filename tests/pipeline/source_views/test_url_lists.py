"""Lists of web addresses as sources: listing, politeness, and what is not fetched; a real server on loopback."""

import csv
import gzip
import pickle
import socket
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.estimate.run import estimate
from pipeline.estimate.settings import EstimateSettings
from pipeline.sources.open import EmptySource, open_source
from pipeline.sources.web import client, rules, turns, url_store
from pipeline.sources.web.rules import NOT_PUBLIC
from pipeline.storage.base import Fetched, FetchFailed, StorageError
from tests.pipeline.making import image_file
from tests.pipeline.source_views.web_server import Answer, WebServer, web_server


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture(autouse=True)
def new_clients_that_wait_little(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a client has learned of a host is no matter of another test."""
    monkeypatch.setattr(client, "wait_before", lambda attempt: 0.01 * attempt)
    yield
    client.close_clients()


def parquet_list(path: Path, urls: list[str | None], column: str = "url") -> str:
    pq.write_table(pa.table({column: pa.array(urls, pa.string()), "text": ["a caption"] * len(urls)}), path)
    return str(path)


def listed(place: str, options: str = "&private") -> dict[str, tuple[int, str]]:
    entries = list(open_source(f"{place}#urls{options}").entries())
    assert [e.key for e in entries] == sorted({e.key for e in entries})
    return {e.key: (e.size, e.etag) for e in entries}


def fetched(place: str, *keys: str, options: str = "&private", most: int | None = None) -> list[Fetched | FetchFailed]:
    return open_source(f"{place}#urls{options}").fetch(keys, most)


def failed(got: Fetched | FetchFailed) -> FetchFailed:
    assert isinstance(got, FetchFailed), got
    return got


def reason(got: Fetched | FetchFailed) -> str:
    return failed(got).reason


def test_a_list_is_listed_by_what_servers_say_and_fetched_with_the_same_versions(
    web: WebServer, tmp_path: Path
) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    web.answers |= {
        "/b.jpg": Answer(b"bbb", {"ETag": '"v1"'}),
        "/a.jpg?w=1": Answer(b"aa", {"Last-Modified": date}),
        "/moved": Answer(status=302, headers={"Location": "/b.jpg"}),
        "/plain": Answer(b"plain", {"ETag": '"p"'}, no_head=True),
    }
    urls = [web.url + path for path in ("/b.jpg", "/plain", "/moved", "/a.jpg?w=1", "/gone.jpg", "/b.jpg")]
    place = parquet_list(tmp_path / "list.parquet", [*urls, None, "file:///etc/passwd"])
    found = listed(place)
    assert found.pop("invalid/empty") == (0, "not compared")
    (bad,) = [key for key in found if key.startswith("invalid/scheme/")]
    del found[bad]
    assert found == {
        f"{web.key}/a.jpg?w=1": (2, f"modified {date}"),
        f"{web.key}/b.jpg": (3, "v1"),
        f"{web.key}/gone.jpg": (url_store.TYPICAL_BYTES, "!its server answered 404 Not Found"),
        f"{web.key}/moved": (3, "v1"),
        f"{web.key}/plain": (5, "p"),
    }
    *got, gone, scheme = fetched(place, *[key for key in found if "gone" not in key], f"{web.key}/gone.jpg", bad)
    bodies = [one for one in got if isinstance(one, Fetched)]
    assert [one.data for one in bodies] == [b"aa", b"bbb", b"bbb", b"plain"]
    assert {one.key: one.etag for one in bodies} == {k: v[1] for k, v in found.items() if "gone" not in k}
    assert bodies[0].modified_ns == 1445412480 * 10**9
    assert reason(gone) == "its server answered 404 Not Found" and failed(gone).is_verdict
    assert reason(scheme) == "its scheme is neither http nor https"
    assert all(agent.startswith("maepress/") for agent in web.agents)


@pytest.mark.parametrize("name", ["l.csv", "l.csv.gz", "l.tsv"])
def test_csv_lists_are_read_and_the_column_is_found_or_named(web: WebServer, tmp_path: Path, name: str) -> None:
    web.answers["/x,1.jpg"] = Answer(b"x", {"ETag": '"x"'})
    path = tmp_path / name
    with gzip.open(path, "wt") if name.endswith("gz") else path.open("w", newline="") as file:
        out = csv.writer(file, delimiter="\t" if "tsv" in name else ",")
        out.writerows([["id", "URL", "link"], ["1", f"{web.url}/x,1.jpg", "two\nlines"], ["2", "", ""]])
    assert set(listed(str(path))) == {f"{web.key}/x,1.jpg", "invalid/empty"}
    assert set(listed(f"{tmp_path}", "&private&check=never&url=URL")) == {f"{web.key}/x,1.jpg", "invalid/empty"}
    with pytest.raises(StorageError, match=r"no column 'nope' \(it has: id, URL, link\)"):
        open_source(f"{path}#urls&url=nope")


def test_lists_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["http://h/"], "URI": ["http://h/"]}), tmp_path / "two.parquet")
    pq.write_table(pa.table({"url": [1]}), tmp_path / "number.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "two.parquet").read_bytes()[:200])
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"url\n" + b"http://h/x\n" * 9999)[:60])
    (tmp_path / "binary.csv").write_bytes(b"url\n\xff\xfe\n")
    (tmp_path / "void.csv").write_bytes(b"url\n")
    (tmp_path / "empty").mkdir()
    for name, expected in {
        "two.parquet#urls": "2 columns that may hold addresses .*url, URI.* name it with #urls&url=COLUMN",
        "number.parquet#urls": "its column 'url' holds int64, not text",
        "cut.parquet#urls": "is damaged",
        "cut.csv.gz#urls": "is damaged",
        "binary.csv#urls": "is damaged",
        "nothing.csv#urls": r"has no list of addresses \(nothing.csv\)",
        "empty#urls": "has no list of addresses",
        "void.csv#urls&perhost=0": "perhost=0 is no number from 1 to 64",
        "void.csv#urls&check=often": "check=often is none of head, never",
    }.items():
        with pytest.raises(StorageError, match=expected) as caught:
            open_source(f"{tmp_path}/{name}")
        assert "\n" not in str(caught.value)
    with pytest.raises(EmptySource):
        open_source(f"{tmp_path}/void.csv#urls")


def test_no_list_reaches_an_address_that_is_not_public_unless_the_user_allows_it(
    web: WebServer, tmp_path: Path
) -> None:
    web.answers["/secret"] = Answer(b"secret", {"ETag": '"s"'})
    port = web.server_port
    plain, odd = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"], ["2130706433", "0x7f.1"]
    urls: list[str | None] = [f"http://{host}:{port}/secret" for host in plain + odd]
    place = parquet_list(tmp_path / "list.parquet", urls)
    found = listed(place, "")
    no_host = "it is, or is redirected to, no valid http or https address"
    for key, got in zip(found, fetched(place, *found, options=""), strict=True):
        is_odd = key.removeprefix("http/").partition(":")[0] in odd  # how such a host is read depends on the system
        assert reason(got) in ((no_host, NOT_PUBLIC) if is_odd else (NOT_PUBLIC,))
        assert found[key][1] == f"!{reason(got)}"[:100] and failed(got).is_verdict
    assert not web.requests
    assert fetched(place, f"{web.key}/secret")[0] == Fetched(f"{web.key}/secret", b"secret", "s")


def test_redirects_end_at_http_addresses_and_do_not_go_in_circles(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, target in {"/file": "file:///etc/passwd", "/circle": "/circle", "/odd": "http://[oops"}.items():
        web.answers[path] = Answer(status=302, headers={"Location": target})
    web.answers["/away"] = Answer(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data/"})
    place = parquet_list(tmp_path / "list.parquet", [web.url])
    file, circle, odd = fetched(place, *(f"{web.key}/{name}" for name in ("file", "circle", "odd")))
    assert reason(file) == reason(odd) == "it is, or is redirected to, no valid http or https address"
    assert reason(circle) == "its server redirects in a circle, or too often"
    # A server that is public as far as the look-up goes, and sends us to the metadata of a cloud's machine.
    first = rules.public_socket

    def as_if_public(info: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
        return first((*info[:4], ("8.8.8.8",)) if info[4][1] == web.server_port else info)

    monkeypatch.setattr(client, "public_socket", as_if_public)
    (away,) = fetched(place, f"{web.key}/away", options="")
    assert reason(away) == NOT_PUBLIC and "/away" in web.took("GET")


def test_requests_to_one_host_are_few_at_a_time(web: WebServer, tmp_path: Path) -> None:
    keys = [f"{web.key}/{number}" for number in range(24)]
    web.answers |= {f"/{number}": Answer(b"x", {"ETag": '"x"'}, seconds=0.02) for number in range(24)}
    place = parquet_list(tmp_path / "list.parquet", [f"{web.url}/{number}" for number in range(24)])
    assert len(listed(place, "&private&perhost=2")) == 24 and web.most == 2
    web.most = 0
    assert all(isinstance(got, Fetched) for got in fetched(place, *keys)) and web.most == client.PER_HOST


def test_a_server_that_asks_for_time_gets_it_and_what_stays_broken_is_no_verdict(
    web: WebServer, tmp_path: Path
) -> None:
    busy = Answer(status=503, headers={"Retry-After": "1"})
    web.answers |= {
        "/busy": Answer(b"x", {"ETag": '"x"'}, first=[busy]),
        "/broken": Answer(status=500),
        "/refused": Answer(status=403),
        "/later": Answer(status=429, headers={"Retry-After": "3600"}),
    }
    place = parquet_list(tmp_path / "list.parquet", [web.url])
    broken, refused = fetched(place, f"{web.key}/broken", f"{web.key}/refused")
    assert reason(broken) == "its server answered 500 Internal Server Error" and failed(broken).transient
    assert web.took("GET").count("/broken") == client.ATTEMPTS
    assert reason(refused) == "its server answered 403 Forbidden" and failed(refused).refused
    (got,) = fetched(place, f"{web.key}/busy")
    assert isinstance(got, Fetched) and web.took("GET") == ["/busy", "/busy"]
    (later,) = fetched(place, f"{web.key}/later")
    (other,) = fetched(place, f"{web.key}/busy")
    assert not failed(later).is_verdict and not failed(other).is_verdict, "an hour is too long for this run"
    assert web.took("GET") == ["/later"], "nothing more is sent to a host that asks for an hour"


def test_a_host_that_cannot_be_reached_does_not_hold_up_a_thousand_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web_server() as server:
        key, port = server.key, server.server_port
    place = parquet_list(tmp_path / "list.parquet", [f"http://127.0.0.1:{port}/"])
    begun = list[int]()
    make = turns.HostTurns.turn

    def noted(self: turns.HostTurns, host: str) -> AbstractAsyncContextManager[None]:
        begun.append(1)
        return make(self, host)

    monkeypatch.setattr(turns.HostTurns, "turn", noted)
    (first,) = fetched(place, f"{key}/0")
    assert reason(first) == "its server cannot be reached" and not failed(first).is_verdict
    assert len(begun) == client.ATTEMPTS
    assert {reason(got) for got in fetched(place, *(f"{key}/{n}" for n in range(1000)))} == {
        "its server gave no answer lately"
    }
    assert len(begun) == client.ATTEMPTS


def test_images_whose_servers_ask_for_it_are_not_taken(web: WebServer, tmp_path: Path) -> None:
    web.answers["/art"] = Answer(b"art", {"X-Robots-Tag": "noai, noimageai"})
    place = parquet_list(tmp_path / "list.parquet", [f"{web.url}/art"])
    (got,) = fetched(place, f"{web.key}/art")
    assert reason(got) == "its server asks not to take it (X-Robots-Tag: noai)" and failed(got).is_verdict
    (got,) = fetched(place, f"{web.key}/art", options="&private&robots=ignore")
    assert isinstance(got, Fetched)


def test_no_body_is_read_beyond_the_limit_whatever_its_server_says(web: WebServer, tmp_path: Path) -> None:
    web.answers |= {
        "/declared": Answer(bytes(5000)),
        "/endless": Answer(bytes(5000), {"Content-Length": ""}),
        "/bomb": Answer(gzip.compress(bytes(50_000)), {"Content-Encoding": "gzip"}),
        "/packed": Answer(gzip.compress(b"small"), {"Content-Encoding": "gzip", "ETag": '"g"'}),
        "/cut": Answer(gzip.compress(b"small")[:-9], {"Content-Encoding": "gzip"}),
        "/short": Answer(b"x", {"Content-Length": "10"}),
        "/odd": Answer(b"x", {"Content-Encoding": "br"}),
    }
    place = parquet_list(tmp_path / "list.parquet", [web.url])
    names = ("declared", "endless", "bomb", "odd", "cut", "packed")
    declared, endless, bomb, odd, cut, packed = fetched(place, *(f"{web.key}/{name}" for name in names), most=1000)
    assert reason(declared) == "5000 bytes are more than 1000"
    assert reason(endless) == reason(bomb) == "it has more than 1000 bytes"
    assert reason(odd).startswith("its server packs it as 'br'") and not failed(cut).is_verdict
    assert isinstance(packed, Fetched) and packed.data == b"small"


def test_a_server_that_claims_a_size_beyond_all_bounds_does_not_decide_what_an_estimate_says(
    web: WebServer, tmp_path: Path, tiny_model_folder: Path
) -> None:
    image = image_file("PNG", size=(96, 64))
    web.answers |= {f"/{i}.png": Answer(image) for i in range(4)}
    web.answers["/claims.png"] = Answer(b"no image", {"Content-Length": str(10**14)})
    web.answers["/gone.png"] = Answer(status=404)
    place = parquet_list(tmp_path / "list.parquet", [f"{web.url}{path}" for path in web.answers])
    assert listed(place)[f"{web.key}/claims.png"][0] == client.LARGEST
    found = estimate(EstimateSettings(source=f"{place}#urls&private&check=never", model=str(tiny_model_folder)))
    assert found.objects == 6
    typical = url_store.TYPICAL_BYTES
    assert found.shares["rejected"] == pytest.approx(2 * typical / (2 * typical + 4 * len(image)))


def test_without_comparison_no_server_is_asked_when_a_list_is_listed(web: WebServer, tmp_path: Path) -> None:
    web.answers["/a"] = Answer(b"a", {"ETag": '"changes"'})
    place = parquet_list(tmp_path / "list.parquet", [f"{web.url}/a"])
    found = listed(place, "&private&check=never")
    assert found == {f"{web.key}/a": (url_store.TYPICAL_BYTES, "not compared")} and not web.requests
    (got,) = fetched(place, *found, options="&private&check=never")
    assert isinstance(got, Fetched) and got.etag == "not compared"


def test_a_source_that_travels_to_a_worker_is_the_same(web: WebServer, tmp_path: Path) -> None:
    web.answers["/a"] = Answer(b"a", {"ETag": '"1"'})
    store = open_source(parquet_list(tmp_path / "list.parquet", [f"{web.url}/a"]) + "#urls&private")
    again = pickle.loads(pickle.dumps(store))
    assert again.url == store.url == f"{tmp_path}#urls=list.parquet&private"
    assert again.get(f"{web.key}/a") == b"a" and list(again.entries()) == list(store.entries())
    with pytest.raises(StorageError, match="has no folder"):
        again.child("x")
