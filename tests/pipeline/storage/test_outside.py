"""No key, link or device leads a store outside itself, for reading as for writing."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.storage.base import StorageError, Store
from pipeline.storage.local.store import LocalStore
from pipeline.storage.open import Fetched, FetchFailed, open_store

OUTSIDE = ["../secret", "a/../../secret", "/etc/hostname", "/dev/zero", "..", "a/..", "x\0y"]
SECONDS = 20
Use = Callable[[str], object]


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    """A read that never ends fails the test instead of stopping the run."""
    assert threading.current_thread() is threading.main_thread()
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"it takes longer than {SECONDS} s"))
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)


def reason(store: Store, key: str) -> str:
    """Why a key cannot be fetched."""
    (got,) = store.fetch([key], 1 << 20)
    assert isinstance(got, FetchFailed) and not got.transient
    return got.reason


@pytest.mark.parametrize("key", OUTSIDE)
@pytest.mark.parametrize("kind", ["local", "archive", "memory"])
def test_no_key_reads_or_writes_outside_a_store(key: str, kind: str, tmp_path: Path) -> None:
    outer: Store
    if kind == "memory":
        outer = open_store(f"memory://outside-{tmp_path.name}")
    else:
        outer = LocalStore(str(tmp_path), links=kind == "local")
    outer.put("secret", b"secret")
    outer.put("store/a/inside", b"inside")
    store = outer.child("store")
    assert "cannot be" in reason(store, key)
    uses: list[Use] = [store.open_input, store.delete, lambda k: store.put(k, b"overwritten"), store.child]
    for use in uses:
        with pytest.raises(StorageError, match="cannot be"):
            use(key)
    with pytest.raises(StorageError, match="cannot be"), store.open_output(key):
        pass
    assert not store.exists(key)
    assert outer.get("secret") == b"secret"
    assert [entry.key for entry in outer.entries()] == ["secret", "store/a/inside"]


def test_dots_in_the_key_of_a_bucket_are_a_name_and_lead_nowhere(bucket: str) -> None:
    """In S3 they are a name like any other; servers that keep objects as files refuse them."""
    outer = open_store(bucket)
    outer.put("secret", b"secret")
    store = outer.child("store")
    (got,) = store.fetch(["../secret"])
    assert isinstance(got, FetchFailed)
    uses: list[Use] = [store.delete, lambda k: store.put(k, b"overwritten")]
    for use in uses:
        with suppress(StorageError):
            use("../secret")
    assert outer.get("secret") == b"secret"
    with pytest.raises(StorageError, match="it leads out of the folder"):
        store.child("../other")


def test_what_is_no_regular_file_is_never_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")  # links of a source are followed
    store = LocalStore(str(tmp_path))
    for key in ("pipe", "zero", "folder"):
        assert "is not a regular file" in reason(store, key)
        with pytest.raises(StorageError, match="is not a regular file"):
            store.open_input(key)
        assert not store.exists(key)
    assert list(store.entries()) == []


def test_a_file_without_end_is_read_up_to_its_size(tmp_path: Path) -> None:
    """Files of /proc have size 0, and some of them give bytes for ever."""
    store = LocalStore("/proc/self")
    assert "changed while it was read" in reason(store, "status")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 40 << 30)
    assert "bytes are more than" in reason(LocalStore(str(tmp_path)), "large")


def test_links_inside_an_archive_are_never_followed(tmp_path: Path) -> None:
    victim = LocalStore(str(tmp_path / "victim"))
    victim.put("photo", b"photo")
    victim.put(".maepress-unfinished/x", b"x")
    (tmp_path / "received").mkdir()
    (tmp_path / "received" / "file").symlink_to(tmp_path / "victim" / "photo")
    (tmp_path / "received" / "folder").symlink_to(tmp_path / "victim")
    (tmp_path / "received" / ".maepress-a").symlink_to(tmp_path / "victim" / "photo")
    (tmp_path / "root").symlink_to(tmp_path / "received")  # the folder that the user names may be a link
    store = LocalStore(str(tmp_path / "root"), links=False)
    store.put("own", b"own")
    assert [entry.key for entry in store.entries()] == ["own"]
    assert list(store.unfinished()) == []
    uses: list[Use] = [store.open_input, store.delete, lambda k: store.put(k, b"overwritten")]
    for key in ("file", "folder/photo"):
        assert "is a link" in reason(store, key)
        for use in uses:
            with pytest.raises(StorageError, match="is a link"):
                use(key)
        assert not store.exists(key)
    with pytest.raises(StorageError, match="is a link"):
        list(store.child("folder").entries())
    assert isinstance(store.fetch(["own"])[0], Fetched)
    assert victim.get("photo") == b"photo"
