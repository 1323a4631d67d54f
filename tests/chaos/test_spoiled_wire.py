"""A wire that spoils one request in twenty, and a source that lies: a real S3 server behind the proxy."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from pipeline.archive import Archive
from pipeline.encoding import EncodeSettings, encode
from pipeline.schema import OUTAGE
from pipeline.storage import open_store
from tests.pipeline.sources import encoded, photo, put_all
from tests.proxy import Answer, Mishap, Mishaps, Proxy, Request
from tests.s3 import S3Server


@pytest.fixture(scope="module")
def proxy(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy, and a Ray whose workers know no other way to the server."""
    with s3.environment(), Proxy(s3.endpoint, stall_seconds=0.5) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        if ray.is_initialized():  # another module's, whose workers know another server
            ray.shutdown()
        ray.init(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False, logging_level="ERROR")
        yield proxy
        ray.shutdown()


@pytest.fixture
def calm(proxy: Proxy) -> Iterator[Proxy]:
    """The proxy, which spoils and changes nothing unless the test says so."""
    yield proxy
    proxy.mishap, proxy.after = lambda request: None, lambda request, answer: answer
    proxy.spoiled.clear()


def settings(s3: S3Server, name: str, model: Path, **other: object) -> EncodeSettings:
    values: dict[str, object] = {
        "source": f"{s3.bucket}/{name}/source",
        "archive": f"{s3.bucket}/{name}/archive",
        "model": str(model),
        "actors": "1:1",
        "shard_mib": 1,
        "commit_seconds": 0,
    }
    return EncodeSettings.model_validate(values | other)


def rows(chosen: EncodeSettings) -> dict[str, dict[str, object]]:
    columns = ["key", "etag", "source_bytes", "source_sha256"]
    found = [row for batch in Archive.open(chosen.archive).scan(columns) for row in batch.to_pylist()]
    assert len({row["key"] for row in found}) == len(found)
    return {str(row["key"]): row for row in found}


def facts(data: bytes) -> dict[str, object]:
    """What a row says of a source: S3's etag is the MD5."""
    return {
        "etag": hashlib.md5(data).hexdigest(),
        "source_bytes": len(data),
        "source_sha256": hashlib.sha256(data).hexdigest(),
    }


def test_a_wire_that_spoils_one_request_in_twenty_costs_no_image_and_no_verdict(
    s3: S3Server, calm: Proxy, tiny_model_folder: Path
) -> None:
    chosen = settings(s3, "spoiled", tiny_model_folder)
    files = {f"{i:03d}.png": encoded(photo(i, 48, 64), "PNG") for i in range(120)}
    put_all(chosen.source, files)
    calm.mishap = Mishaps(seed=5, share=0.05)
    result = encode(chosen, quiet=True)
    assert calm.spoiled.keys() == set(Mishap), "not everything happened"
    assert result.latents + result.originals == len(files)
    assert result.rejected == 0
    assert {key: {**facts(data), "key": key} for key, data in files.items()} == rows(chosen)


def test_an_object_that_changes_after_it_was_listed_is_recorded_as_it_was_read(
    s3: S3Server, calm: Proxy, tiny_model_folder: Path
) -> None:
    chosen = settings(s3, "changing", tiny_model_folder)
    before, after = (encoded(photo(seed, 48, 64), "PNG") for seed in (1, 2))
    put_all(chosen.source, {"changes.png": before, "goes.png": before, "stays.png": before})
    direct = s3.client()

    def change_once_listed(request: Request, answer: Answer) -> Answer:
        if "list-type=2" in request.query and b"changes.png" in answer.body and b"<Size>" in answer.body:
            bucket, prefix = chosen.source.removeprefix("s3://").split("/", 1)
            direct.put_object(Bucket=bucket, Key=f"{prefix}/changes.png", Body=after)
            direct.delete_object(Bucket=bucket, Key=f"{prefix}/goes.png")
        return answer

    calm.after = change_once_listed
    result = encode(chosen, quiet=True)
    calm.after = lambda request, answer: answer
    assert rows(chosen)["changes.png"] == facts(after) | {"key": "changes.png"}
    assert rows(chosen)["stays.png"] == facts(before) | {"key": "stays.png"}
    assert result.rejected <= 1  # it may go between the check of the source and the listing
    refused = list(Archive.open(chosen.archive).rejections_by_key())
    assert [(r.key, r.reason) for r in refused] == [("goes.png", "the object does not exist")] * len(refused)
    again = encode(chosen, quiet=True)
    assert (again.latents, again.originals, again.rejected, again.unchanged) == (0, 0, 0, 2)


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_listing_that_lies_about_sizes_is_not_believed(
    s3: S3Server, calm: Proxy, tiny_model_folder: Path, size: int
) -> None:
    chosen = settings(s3, f"lying-{size}", tiny_model_folder)
    data = encoded(photo(3, 48, 64), "PNG")
    put_all(chosen.source, {"a.png": data})
    calm.after = lambda request, answer: resized(answer, size) if "list-type=2" in request.query else answer
    encode(chosen, quiet=True)
    assert rows(chosen) == {"a.png": facts(data) | {"key": "a.png"}}


def test_an_object_that_is_larger_than_listed_and_than_allowed_is_not_read(
    s3: S3Server, calm: Proxy, tiny_model_folder: Path
) -> None:
    chosen = settings(s3, "swollen", tiny_model_folder, max_object_mib=1)
    data = encoded(photo(3, 48, 64), "PNG")
    put_all(chosen.source, {"a.png": data, "large.png": b"x" * (3 << 20)})
    calm.after = lambda request, answer: resized(answer, 9) if "list-type=2" in request.query else answer
    assert encode(chosen, quiet=True).rejected == 1
    assert rows(chosen) == {"a.png": facts(data) | {"key": "a.png"}}
    (refused,) = Archive.open(chosen.archive).rejections_by_key()
    assert (refused.key, refused.stage) == ("large.png", "fetch")
    assert refused.reason == f"{3 << 20} bytes are more than {1 << 20}"


def test_a_server_that_never_gives_a_whole_body_is_to_blame_and_the_next_run_tries_again(
    s3: S3Server, calm: Proxy, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(s3, "short", tiny_model_folder)
    data = encoded(photo(3, 48, 64), "PNG")
    put_all(chosen.source, {"a.png": data, "b.png": data})
    calm.mishap = lambda request: Mishap.CUT if request.method == "GET" and request.path.endswith("/b.png") else None
    assert encode(chosen, quiet=True).rejected == 1
    (refused,) = Archive.open(chosen.archive).rejections_by_key()
    assert (refused.key, refused.stage) == ("b.png", OUTAGE)
    calm.mishap = lambda request: None
    assert encode(chosen, quiet=True).latents == 1
    assert rows(chosen).keys() == {"a.png", "b.png"}


def test_the_proxy_passes_on_what_it_does_not_spoil(s3: S3Server, calm: Proxy) -> None:
    store = open_store(f"{s3.bucket}/passes")
    data = os.urandom(3 << 20)
    with store.open_output("ä b/c+d.bin") as file:
        file.write(data)
    assert [(e.key, e.size) for e in store.entries()] == [("ä b/c+d.bin", len(data))]
    assert store.get("ä b/c+d.bin") == data
    with store.open_input("ä b/c+d.bin") as file:
        file.seek(1 << 20)
        assert file.read(10) == data[1 << 20 : (1 << 20) + 10]


def resized(answer: Answer, size: int) -> Answer:
    """A listing in which every object has the same size."""
    body = re.sub(rb"<Size>\d+</Size>", b"<Size>%d</Size>" % size, answer.body)
    head = re.sub(rb"(?i)content-length: \d+", b"Content-Length: %d" % len(body), answer.head)
    return Answer(head, body)
