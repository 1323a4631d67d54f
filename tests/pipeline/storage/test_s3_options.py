"""Who pays, encryption and storage class: what requests to S3 carry."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from jobs.demo.s3_server import S3Server
from pipeline.storage.base import StorageError
from pipeline.storage.open import storage_options
from pipeline.storage.s3.request_options import CLASS, KEY, PAYER, SSE, S3Options
from pipeline.storage.s3.store import S3Store

ALL = {PAYER: "requester", SSE: "aws:kms", KEY: "arn:aws:kms:eu-central-1:1:key/2", CLASS: "GLACIER_IR"}
Sent = dict[str, list[dict[str, str]]]


@pytest.fixture
def sent(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[S3Store, Sent]]:
    """A store whose requests have all options, and the headers of those that it sends, by operation."""
    s3.make_bucket("options")
    for name, value in ALL.items():
        monkeypatch.setenv(name, value)
    store = S3Store("s3://options/x")
    found: Sent = defaultdict(list)
    store.check_readable()  # the client exists now
    client = store._sessions.current()._s3

    def record(params: dict[str, Any], model: Any, **others: Any) -> None:
        found[model.name].append({name.lower(): value for name, value in params["headers"].items()})
        # The test's server has no keys: what is sent is looked at, and not asked of it.
        for name in [n for n in params["headers"] if "encryption" in n.lower()]:
            del params["headers"][name]

    client.meta.events.register_last("before-call.s3", record)
    yield store, found


def test_every_request_says_who_pays_and_what_is_written_is_encrypted(sent: tuple[S3Store, Sent]) -> None:
    store, found = sent
    store.put("small", b"x")
    store.put("large", b"x" * (128 << 10))
    with store.open_output("streamed") as file:
        file.write(b"x" * (6 << 20))
    store.fetch(["small"])
    assert store.exists("small")
    with store.open_input("large") as read:
        assert read.read(1) == b"x"
    list(store.entries())
    store.delete("small")
    assert {"PutObject", "GetObject", "HeadObject", "ListObjectsV2", "DeleteObject"} <= set(found)
    for operation, requests in found.items():
        assert all(headers["x-amz-request-payer"] == "requester" for headers in requests), operation
    small, large = found["PutObject"][:2]
    assert {small["x-amz-server-side-encryption"], large["x-amz-server-side-encryption"]} == {"aws:kms"}
    assert large["x-amz-server-side-encryption-aws-kms-key-id"] == ALL[KEY]
    assert "x-amz-storage-class" not in small and large["x-amz-storage-class"] == "GLACIER_IR"
    (streamed,) = [*found["CreateMultipartUpload"], *found["PutObject"][2:]]
    assert (streamed["x-amz-storage-class"], streamed["x-amz-server-side-encryption"]) == ("GLACIER_IR", "aws:kms")


def test_the_log_is_written_with_the_same_key_and_payer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ALL.items():
        monkeypatch.setenv(name, value)
    options = storage_options("s3://bucket/x")
    assert options["aws_server_side_encryption"] == "aws:kms" and options["aws_sse_kms_key_id"] == ALL[KEY]
    assert options["aws_request_payer"] == "true"
    assert storage_options("gs://bucket/x") == {}


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({PAYER: "me"}, f"{PAYER}=me: must be requester"),
        ({SSE: "rot13"}, f"{SSE}=rot13: must be AES256 or"),
        ({KEY: "arn"}, f"{KEY} needs {SSE}=aws:kms"),
        ({CLASS: "DEEP_ARCHIVE"}, f"{CLASS}=DEEP_ARCHIVE: must be STANDARD or"),
    ],
)
def test_an_option_that_would_not_work_is_refused_in_one_line(environ: dict[str, str], says: str) -> None:
    with pytest.raises(StorageError) as error:
        S3Options.of(environ)
    assert str(error.value).startswith(says) and "\n" not in str(error.value)


def test_without_variables_nothing_is_added() -> None:
    parameters: dict[str, Any] = {"Body": b"x" * (1 << 20)}
    S3Options.of({}).add_to(parameters, {"RequestPayer": 0, "StorageClass": 0}, "PutObject")
    assert parameters.keys() == {"Body"}
    assert S3Options.of({}).for_deltalake() == {}
