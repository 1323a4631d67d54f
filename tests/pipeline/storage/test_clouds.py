"""Azure, Cloud Storage and SFTP, each on a real server of its protocol."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.framework.settings import redact
from pipeline.archive.archive import Archive
from pipeline.maintain.settings import StatusSettings
from pipeline.maintain.status import status
from pipeline.sources.open import open_source
from pipeline.storage.base import Fetched, FetchFailed, Occupied, StorageError, Store
from pipeline.storage.open import open_store
from pipeline.storage.places import is_within, store_at
from tests.clouds import azurite, cloud_storage, sftp
from tests.pipeline.making import add, original

KEYS = ("a b", "a/x", "d-1", "d.txt", "d/e/f", "d/é.jpg", "z#1", "z%41")


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cloud_storage(tmp_path_factory.mktemp("gcs")) as bucket:
        yield f"gs://{bucket}"


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite(tmp_path_factory.mktemp("azurite")) as container:
        yield f"abfs://{container}"


def check_store(store: Store) -> None:
    """All that jobs do with a place that they write to."""
    store.check_writable()
    for key in KEYS:
        store.put(key, key.encode() * 100)
    listed = list(store.entries())
    assert [entry.key for entry in listed] == sorted(KEYS, key=str.encode)
    found = store.fetch([*KEYS, "no-such-key"])
    assert [f.data for f in found if isinstance(f, Fetched)] == [key.encode() * 100 for key in KEYS]
    assert [f.etag for f in found if isinstance(f, Fetched)] == [
        next(entry.etag for entry in listed if entry.key == key) for key in KEYS
    ]
    last = found[-1]
    assert isinstance(last, FetchFailed) and last.is_verdict
    store.put("a/x", b"changed")
    assert store.fetch(["a/x"])[0] != found[1]
    # Exclusive writes.
    store.put_new("a/x", b"changed")
    with pytest.raises(Occupied):
        store.put_new("a/x", b"other")
    with pytest.raises(Occupied), store.open_output("a/x", new=True) as file:
        file.write(b"other")
    assert store.get("a/x") == b"changed"
    # Large objects appear whole or not at all; parts of them are read by range.
    with store.open_output("large") as file:
        file.write(b"x" * 6_000_000)
        file.write(b"y" * 10)
    with pytest.raises(KeyError), store.open_output("broken") as file:
        file.write(b"x" * 6_000_000)
        raise KeyError
    assert not store.exists("broken")
    with store.open_input("large") as read:
        read.seek(5_999_998)
        assert read.read(4) == b"xxyy"
    # Deletes of what has not changed.
    (got,) = store.fetch(["large"])
    assert isinstance(got, Fetched)
    assert not store.delete_unchanged("large", "another") and store.exists("large")
    assert store.delete_unchanged("large", got.etag) and not store.exists("large")


def test_cloud_storage_does_all_that_jobs_ask_of_a_source_and_a_destination(gcs: str) -> None:
    check_store(open_store(f"{gcs}/store"))


def test_an_export_to_cloud_storage_writes_every_key(gcs: str, tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, [original("a.tif", b"bytes"), original("b/c.tif", b"more")])
    assert main(["decode", archive.url, f"{gcs}/restored", "--executor", "local", "--quiet"]) == 0
    assert [(e.key, e.size) for e in open_source(f"{gcs}/restored").entries()] == [("a.tif", 5), ("b/c.tif", 4)]


@pytest.mark.slow
def test_azure_does_all_that_jobs_ask_of_a_place_and_holds_archives(azure: str, tmp_path: Path) -> None:
    check_store(open_store(f"{azure}/store"))
    archive = Archive.create(f"{azure}/archive")
    add(archive, [original("k1", b"bytes"), original("k2", b"more")], run="one")
    add(Archive.open(archive.url), [original("k3", b"third")], run="two")
    row = archive.row("k3")
    assert row is not None and row["payload"] == b"third"
    assert status(StatusSettings(archive=archive.url)).rows == 3
    assert main(["verify", archive.url, "--executor", "local", "--quiet"]) == 0
    assert main(["restore", archive.url, "1"]) == 0
    assert main(["decode", archive.url, str(tmp_path / "out"), "--executor", "local", "--quiet"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["k1", "k2"]
    named = open_store(azure.replace("://box", "://box@devstoreaccount1.dfs.core.windows.net") + "/store")
    assert [e.key for e in named.entries()][:2] == ["a b", "a/x"]


def test_sftp_is_read_as_a_source_and_not_written(tmp_path: Path) -> None:
    root, home = tmp_path / "root", tmp_path / "home"
    for folder in (root / "photos" / "d", home):
        folder.mkdir(parents=True)
    for key in ("a.jpg", "d-1", "d/b.jpg"):
        (root / "photos" / key).write_bytes(key.encode())
    with sftp(root, home) as address:
        url = f"sftp://{address}/photos"
        store = open_source(url)
        assert [(e.key, e.size) for e in store.entries()] == [("a.jpg", 5), ("d-1", 3), ("d/b.jpg", 7)]
        (found, missing) = store.fetch(["d/b.jpg", "none"])
        assert isinstance(found, Fetched) and found.data == b"d/b.jpg"
        assert isinstance(missing, FetchFailed) and missing.is_verdict
        etag = next(e.etag for e in store.entries() if e.key == "d/b.jpg")
        assert etag == found.etag
        (root / "photos" / "d" / "b.jpg").write_bytes(b"changed now")
        (changed,) = store.fetch(["d/b.jpg"])
        assert isinstance(changed, Fetched) and changed.etag != etag
        with store.open_input("a.jpg") as file:
            file.seek(2)
            assert file.read(2) == b"jp"
        for use in (store.check_writable, lambda: store.put("new", b"x"), lambda: store.put_new("new", b"x")):
            with pytest.raises(StorageError, match="does not write there"):
                use()
        with pytest.raises(StorageError, match="an archive cannot be at sftp://"):
            Archive(f"{url}/archive")
        assert not (root / "photos" / "new").exists()
        (home / ".ssh" / "known_hosts").write_text("")
        other = url.replace("somebody", "another")
        with pytest.raises(StorageError, match=r"cannot be (opened|read)"):
            open_source(other)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sftp://user:password@host/x", "must not carry credentials: use the environment (keys in ~/.ssh"),
        ("abfs://box:key@account.dfs.core.windows.net/x", "must not carry credentials"),
        ("abfs://a@b@account/x", "must not carry credentials"),
        ("gs://key@bucket/x", "must not carry credentials: use the environment (GOOGLE_APPLICATION_CREDENTIALS)"),
        ("s3://AKIA@bucket/x", "must not carry credentials"),
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(url: str, says: str) -> None:
    with pytest.raises(StorageError) as error:
        open_store(url)
    assert says in str(error.value)
    assert "password" not in str(error.value) and "key@" not in str(error.value)


def test_a_container_and_a_user_are_shown_and_a_password_is_not() -> None:
    assert redact("abfs://box@account.dfs.core.windows.net/x") == "abfs://box@account.dfs.core.windows.net/x"
    assert redact("sftp://me@host/x is gone") == "sftp://me@host/x is gone"
    assert redact("sftp://me:pass/word@host/x, abfs://a:b@c/d") == "sftp://***@host/x, abfs://***@c/d"


@pytest.mark.parametrize("url", ["memory://archive", "sftp://host/archive", "nope://x"])
def test_an_archive_is_refused_where_writers_cannot_exclude_each_other(url: str) -> None:
    with pytest.raises(StorageError, match=r"cannot be at|knows no nope"):
        Archive(url)


def test_the_same_path_of_two_sftp_hosts_is_two_places() -> None:
    one, other = (store_at(f"sftp://{host}/photos") for host in ("a.example", "b.example"))
    assert not is_within(one, other) and is_within(one.child("x"), one)
