"""A network that breaks one request in twenty, and a listing with wrong sizes, on a real S3 server."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from jobs.demo.s3_server import S3Server
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Rejection
from pipeline.archive.schema import OUTAGE
from pipeline.encode.run import EncodeSettings, encode
from pipeline.encode.stages import Loaded, load
from pipeline.execution.ray_init import start_ray
from pipeline.images.limits import MAX_PIXELS, Limits
from pipeline.images.sandbox.sandbox import Sandbox
from pipeline.storage.open import open_store
from tests.pipeline.sources import encoded, photo, put_all
from tests.proxy import Answer, Fault, Proxy, RandomFaults, Request

pytestmark = pytest.mark.slow

LIMIT = 1 << 20
"""Bytes of an object at most."""


@pytest.fixture(scope="module")
def proxy(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that is the only way to the server."""
    with s3.environment(), Proxy(s3.endpoint, stall_seconds=0.5) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield proxy


@pytest.fixture(scope="module")
def behind(proxy: Proxy) -> Iterator[None]:
    """A Ray whose workers reach the server through the proxy only."""
    if ray.is_initialized():  # another module's, whose workers know another server
        ray.shutdown()
    start_ray(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def calm(proxy: Proxy) -> Iterator[Proxy]:
    """The proxy, which passes everything on unchanged until a test configures it."""
    yield proxy
    proxy.fault, proxy.after = lambda request: None, lambda request, answer: answer
    proxy.faults.clear()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox(Limits.for_images(60, MAX_PIXELS, LIMIT))
    yield made
    made.close()


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
    """A row's facts about its source; S3's etag is the MD5."""
    return {
        "etag": hashlib.md5(data).hexdigest(),
        "source_bytes": len(data),
        "source_sha256": hashlib.sha256(data).hexdigest(),
    }


@pytest.mark.usefixtures("behind")
def test_a_network_that_breaks_one_request_in_twenty_costs_no_image_and_rejects_none(
    s3: S3Server, calm: Proxy, tiny_model_folder: Path
) -> None:
    chosen = settings(s3, "faulty", tiny_model_folder)
    files = {f"{i:03d}.png": encoded(photo(i, 48, 64), "PNG") for i in range(100)}
    put_all(chosen.source, files)
    calm.fault = RandomFaults(seed=5, share=0.05)
    result = encode(chosen, quiet=True)
    assert sum(calm.faults.values()) >= 3 and len(calm.faults) >= 2, "too little happened"
    assert result.latents + result.originals == len(files)
    assert result.rejected == 0
    assert {key: {**facts(data), "key": key} for key, data in files.items()} == rows(chosen)


@pytest.mark.usefixtures("behind")
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
    rejected = list(Archive.open(chosen.archive).rejections_by_key())
    assert [(r.key, r.reason) for r in rejected] == [("goes.png", "the object does not exist")] * len(rejected)
    again = encode(chosen, quiet=True)
    assert (again.latents, again.originals, again.rejected, again.unchanged) == (0, 0, 0, 2)


@pytest.mark.parametrize("size", [1, LIMIT])
def test_a_listing_that_lies_about_sizes_is_not_believed(
    s3: S3Server, calm: Proxy, sandbox: Sandbox, size: int
) -> None:
    store = open_store(f"{s3.bucket}/lying-{size}")
    data = encoded(photo(3, 48, 64), "PNG")
    put_all(store.url, {"fits.png": data, "large.png": b"x" * (LIMIT + 1)})
    calm.after = lambda request, answer: resized(answer, size) if "list-type=2" in request.query else answer
    fits, large = load(list(store.entries()), store, sandbox, MAX_PIXELS, LIMIT)
    assert isinstance(fits, Loaded) and (fits.etag, fits.source) == (hashlib.md5(data).hexdigest(), data)
    assert isinstance(large, Rejection) and large.stage == "fetch"
    assert large.reason == f"{LIMIT + 1} bytes are more than {LIMIT}"


def test_a_server_that_never_gives_a_whole_body_is_to_blame_and_not_the_object(
    s3: S3Server, calm: Proxy, sandbox: Sandbox
) -> None:
    store = open_store(f"{s3.bucket}/short")
    put_all(store.url, {"a.png": encoded(photo(3, 48, 64), "PNG"), "b.png": b"never comes whole"})
    entries = list(store.entries())
    calm.fault = lambda request: Fault.CUT if request.path.endswith("/b.png") else None
    whole, short = load(entries, store, sandbox, MAX_PIXELS, LIMIT)
    assert isinstance(whole, Loaded)
    assert isinstance(short, Rejection) and short.stage == OUTAGE


def test_the_proxy_passes_on_unchanged_what_it_does_not_break(s3: S3Server, calm: Proxy) -> None:
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
