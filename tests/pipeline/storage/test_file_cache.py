"""A cache of files: whole, shared, within its limit, and never wrong."""

import os
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from model.core.errors import MaepressError
from pipeline.storage.base import StorageError, Unwritable
from pipeline.storage.file_cache import FileCache
from pipeline.storage.local.store import LocalStore


class Counted(LocalStore):
    """A store that counts what is opened."""

    opened = 0

    def open_input(self, key: str) -> BinaryIO:
        self.opened += 1
        return super().open_input(key)


@pytest.fixture
def store(tmp_path: Path) -> Counted:
    made = Counted(str(tmp_path / "store"))
    for name in "abc":
        made.put(name, name.encode() * 1000)
    return made


def read(cache: FileCache, key: str) -> bytes:
    with cache.open_input(key) as file:
        return file.read()


def held(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.file"))


def test_a_file_is_fetched_once_also_for_other_processes(store: Counted, tmp_path: Path) -> None:
    for _ in range(2):
        cache = FileCache(store, tmp_path / "cache", 10_000)
        assert [read(cache, "a"), read(cache, "a")] == [b"a" * 1000] * 2
    assert store.opened == 1


def test_what_was_used_least_recently_goes_first(store: Counted, tmp_path: Path) -> None:
    cache = FileCache(store, tmp_path / "cache", 2500)
    read(cache, "a")
    (first,) = held(tmp_path / "cache")
    os.utime(first, (1, 1))
    read(cache, "b")
    read(cache, "a")  # it is younger than b now
    second = next(path for path in held(tmp_path / "cache") if path != first)
    os.utime(second, (2, 2))
    with cache.open_input("b") as reading:
        os.utime(second, (2, 2))
        read(cache, "c")
        assert first in held(tmp_path / "cache") and second not in held(tmp_path / "cache")
        assert reading.read() == b"b" * 1000  # who reads it goes on
    assert sum(path.stat().st_size for path in held(tmp_path / "cache")) <= 2500


def test_a_file_larger_than_the_limit_is_read_from_the_store(store: Counted, tmp_path: Path) -> None:
    cache = FileCache(store, tmp_path / "cache", 999)
    assert read(cache, "a") == b"a" * 1000 and held(tmp_path / "cache") == []
    with pytest.raises(MaepressError, match="above 0"):
        FileCache(store, tmp_path / "cache", 0)


@pytest.mark.parametrize("damage", [b"", b"a" * 999, b"a" * 999 + b"b"])
def test_a_damaged_entry_is_noticed_and_fetched_again(store: Counted, tmp_path: Path, damage: bytes) -> None:
    read(FileCache(store, tmp_path / "cache", 10_000), "a")
    held(tmp_path / "cache")[0].write_bytes(damage)
    assert read(FileCache(store, tmp_path / "cache", 10_000), "a") == b"a" * 1000
    assert store.opened == 2 and held(tmp_path / "cache")[0].read_bytes() == b"a" * 1000


def test_many_at_once_fetch_a_file_once(store: Counted, tmp_path: Path) -> None:
    caches = [FileCache(store, tmp_path / "cache", 10_000) for _ in range(8)]
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda cache=cache: found.append(read(cache, "b"))) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"b" * 1000] * 8 and store.opened == 1


def test_what_a_killed_process_left_goes_after_an_hour(store: Counted, tmp_path: Path) -> None:
    cache = FileCache(store, tmp_path / "cache", 10_000)
    old, new = (tmp_path / "cache" / f"{name}.fetching" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    read(cache, "a")
    assert not old.exists() and new.exists()


def test_a_place_that_cannot_be_written_and_a_file_that_is_missing_are_one_line(store: Counted, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unwritable, match="cannot be written"):
        FileCache(store, tmp_path / "file" / "cache", 1000)
    with pytest.raises(StorageError):
        FileCache(store, tmp_path / "cache", 1000).open_input("missing")
    assert held(tmp_path / "cache") == []
