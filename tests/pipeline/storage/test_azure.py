"""Addresses, accounts and errors of Azure's store; `test_clouds.py` has what every cloud must do."""

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.storage.azure.azure_account import connection, place_of
from pipeline.storage.base import CHANGED, Fetched, FetchFailed, Outage, Ranges, StorageError
from pipeline.storage.open import open_store
from pipeline.storage.places import is_within, store_at
from tests.clouds import ACCOUNT, ACCOUNT_KEY, azurite, free_port

CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"


@pytest.fixture
def no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AZURE_", "AZURITE_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite(tmp_path_factory.mktemp("azurite")) as container:
        yield f"abfs://{container}"


def test_every_spelling_of_a_container_is_that_container(no_account: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    photos = store_at("abfs://box/photos")
    for url in (
        "az://box/photos/",
        "ABFSS://box@account.dfs.core.windows.net//photos",
        "abfs://Box@Account.blob.core.windows.net/photos",
        "abfs://box@account/photos#frames=30",
    ):
        assert store_at(url).place() == photos.place() == ("azure", "account", "box", "photos"), url
    for outside in ("abfs://box@other.dfs.core.windows.net/photos", "abfs://box/photos-2", "az://crate/photos"):
        assert not is_within(store_at(outside), photos), outside
    monkeypatch.setenv(CONNECTION, "AccountName=other;AccountKey=AAAA")
    assert photos.place()[1] == "other"


@pytest.mark.parametrize(
    ("text", "url", "expected"),
    [
        (
            "DefaultEndpointsProtocol=https;AccountName=mine;AccountKey=a2V5MQ==;EndpointSuffix=core.chinacloudapi.cn",
            "abfs://box",
            {"account_name": "mine", "account_key": "a2V5MQ==", "endpoint": "https://mine.blob.core.chinacloudapi.cn"},
        ),
        (
            "BlobEndpoint=https://mine.blob.core.windows.net/;SharedAccessSignature=?sv=2024&sig=abc%3D",
            "abfs://box@mine.dfs.core.windows.net",
            {"account_name": "mine", "endpoint": "https://mine.blob.core.windows.net", "credential_type": "sas_token"},
        ),
        (
            "AccountName=mine;AccountKey=a2V5",
            "abfs://box@other.dfs.core.windows.net",
            {"account_name": "other", "account_key": None, "endpoint": None},
        ),
    ],
)
def test_a_connection_string_is_used_for_its_own_account(
    no_account: None, monkeypatch: pytest.MonkeyPatch, text: str, url: str, expected: dict[str, str | None]
) -> None:
    monkeypatch.setenv(CONNECTION, text)
    config = connection(place_of(url)).config
    assert {name: config.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("abfs://box@evil.example/x", "evil.example is no account of Azure"),
        ("abfs://box@evil.example#.dfs.core.windows.net/x", "is no account of Azure"),
        ("abfs:///x", "names no container"),
        ("az://box/../other", "leads out"),
    ],
)
def test_an_address_that_is_not_in_azure_gets_no_credentials(url: str, says: str) -> None:
    with pytest.raises(StorageError, match=says):
        open_store(url)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the account of container 'box' is not known"),
        ("AccountKey=c2VjcmV0", "names no account"),
        ("AccountName=mine;AccountKey=!c2VjcmV0", "cannot be read"),
    ],
)
def test_credentials_that_cannot_be_used_are_one_line_that_does_not_repeat_them(
    no_account: None, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    monkeypatch.setenv(CONNECTION, text)
    with pytest.raises(StorageError, match=says) as error:
        open_store("abfs://box/x").check_readable()
    assert "c2VjcmV0" not in str(error.value) and "\n" not in str(error.value)


def test_an_account_that_does_not_answer_is_an_outage(no_account: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        CONNECTION, f"AccountName=mine;AccountKey=c2VjcmV0;BlobEndpoint=http://127.0.0.1:{free_port()}/mine"
    )
    with pytest.raises(Outage, match=r"unreachable: check") as error:
        open_store("abfs://box/x").check_readable()
    assert "c2VjcmV0" not in str(error.value) and "\n" not in str(error.value)


def test_azure_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("pipeline.storage.azure")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(StorageError, match=r"not installed: pip install 'maepress\[azure\]'"):
        open_store("az://box/x")


@pytest.mark.slow
def test_ranges_are_of_one_version_of_a_blob(azure: str) -> None:
    store = pickle.loads(pickle.dumps(open_store(f"{azure}/ranges")))
    store.put("k", b"0123456789", modified_ns=1_700_000_000_123_456_789)
    wanted = [(2, 3), (0, 0), (8, 100), (10, 1), (500, 2)]
    found = store.read_ranges("k", wanted)
    assert isinstance(found, Ranges) and found.parts == [b"234", b"", b"89", b"", b""]
    assert (found.size, found.modified_ns) == (10, 1_700_000_000_123_456_789)
    assert store.read_ranges("k", wanted, found.etag) == found
    assert store.read_ranges("k", [(10, 1)], found.etag) == Ranges([b""], 10, found.etag, found.modified_ns)
    with store.open_input("k") as file:
        assert file.read(3) == b"012"
        store.put("k", b"9876543210")
        for ranges in (wanted, [], [(10, 1)]):
            changed = store.read_ranges("k", ranges, found.etag)
            assert isinstance(changed, FetchFailed) and changed.reason == CHANGED and changed.transient, ranges
        file.seek(1_000_000)  # outside of what was read ahead
        assert file.read(1) == b""
    store.put("empty", b"")
    empty = store.read_ranges("empty", [(0, 5)])
    assert isinstance(empty, Ranges) and (empty.parts, empty.size) == ([b""], 0)
    assert store.read_ranges("empty", [(0, 5)], empty.etag) == empty
    gone = store.read_ranges("none", [(0, 5)])
    assert isinstance(gone, FetchFailed) and gone.is_verdict


@pytest.mark.slow
def test_a_folder_with_a_key_that_cannot_be_named_does_not_stop_the_listing_of_others(azure: str) -> None:
    from azure.storage.blob import ContainerClient

    container = ContainerClient.from_connection_string(os.environ[CONNECTION], "box")
    for key in ("a/x", "b//x", "c//", "d-1", "d/", "d/x", "e"):
        container.upload_blob(f"odd/{key}", b"bytes")
    store, unlisted = open_store(f"{azure}/odd"), list[str]()
    listed = [entry.key for entry in store.entries(lambda folder, why: unlisted.append(f"{folder}: {why}"))]
    assert listed == ["a/x", "d-1", "d/x", "e"]  # without the marker of a folder, `d/`
    assert [text.split(":")[0] for text in unlisted] == ["b/", "c/"] and "`..`" in unlisted[0]
    with pytest.raises(StorageError, match="cannot be read"):
        list(store.entries())
    found = store.fetch(["a/x", "b//x"], max_bytes=4)
    assert [f.reason[:22] for f in found if isinstance(f, FetchFailed)] == [
        "5 bytes are more than ",
        "the key 'b//x' cannot ",
    ]


@pytest.mark.slow
def test_refusals_are_no_verdicts_and_name_what_to_check(azure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = open_store("abfs://nowhere/x")
    (failed,) = nowhere.fetch(["k"])
    assert isinstance(failed, FetchFailed) and failed.refused and "ContainerNotFound" in failed.reason
    for use in (nowhere.check_readable, nowhere.check_writable, lambda: list(nowhere.entries())):
        with pytest.raises(StorageError, match="there is no container for abfs://nowhere/x"):
            use()
    store = open_store(f"{azure}/store")
    store.put("k", b"bytes")
    monkeypatch.setenv(CONNECTION, os.environ[CONNECTION].replace(ACCOUNT_KEY, "c2VjcmV0"))
    (failed,) = store.fetch(["k"])
    assert isinstance(failed, FetchFailed) and failed.refused and "403" in failed.reason
    for use in (store.check_readable, lambda: store.put("k", b"x"), lambda: store.delete("k")):
        with pytest.raises(StorageError, match=f"access to {azure}/store.* is forbidden") as error:
            use()
        assert ACCOUNT not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_a_forked_process_reads_too(azure: str, tmp_path: Path) -> None:
    store = open_store(f"{azure}/forked")
    store.put("k", b"bytes")
    child = os.fork()
    if not child:
        try:
            (found,) = store.fetch(["k"])
            (tmp_path / "found").write_bytes(found.data if isinstance(found, Fetched) else found.reason.encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / "found").read_bytes() == b"bytes"
