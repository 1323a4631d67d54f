"""Listing in byte order of the keys, whatever the order of the folders."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest

from pipeline.storage.base import Entry, StorageError
from pipeline.storage.listing.ordered_walk import Page, check_order, walk
from pipeline.storage.listing.prefetch import FOLDERS, REQUESTS, FolderPrefetch, list_in_order
from pipeline.storage.s3.flat_listing import FlatListing
from tests.sorted_server import SortedServer

TRICKY = ["a", "a!", "a-b", "a-b/c", "a/", "a/b", "a/b-c", "a/b/c", "a.", "a0", "b", "é/ü", "é-", "~", "a/b/", "a-"]


def entries(keys: list[str]) -> list[Entry]:
    return [Entry(key, 1, "e") for key in keys]


def pages_of(keys: list[str], size: int, *, slash_counts: bool) -> object:
    """Lists a folder in pages, sorted with (S3) or without (file systems) the slash of a folder's name."""

    def pages(prefix: str) -> Iterator[Page]:
        below = [key[len(prefix) :] for key in keys if key.startswith(prefix) and key != prefix]
        files = {name: name for name in below if "/" not in name}
        tops = {name.split("/")[0] for name in below if "/" in name}
        folders = {top + ("/" if slash_counts else ""): top + "/" for top in tops}
        names = sorted([(sort, name) for sort, name in (*files.items(), *folders.items())])
        for start in range(0, max(1, len(names)), size):
            part = [prefix + name for _, name in names[start : start + size]]
            yield Page(entries([k for k in part if not k.endswith("/")]), [k for k in part if k.endswith("/")])

    return pages


NAMES = ["a", "b", "a-", "a.b", "a!", "é", "0"]


@pytest.mark.parametrize("slash_counts", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_prefetched_folders_do_not_change_the_order(size: int, slash_counts: bool) -> None:
    """A few threads, as for listing many folders."""
    rng = random.Random(size)
    for _ in range(20):
        keys = sorted({"/".join(rng.choices(NAMES, k=rng.randint(1, 4))) for _ in range(300)})
        found = [entry.key for entry in list_in_order(pages_of(keys, size, slash_counts=slash_counts), "s3://b")]  # type: ignore[arg-type]
        assert found == sorted(keys, key=lambda key: key.encode())


def tree(*counts: int) -> Callable[[str], Iterator[Page]]:
    """Nested folders: the number of folders per level, and of files in the deepest folders."""

    def pages(prefix: str) -> Iterator[Page]:
        level = prefix.count("/")
        names = [f"{prefix}{i:04d}" for i in range(counts[level])]
        yield Page(entries(names), []) if level + 1 == len(counts) else Page([], [f"{name}/" for name in names])

    return pages


def test_a_limited_number_of_folders_is_listed_at_once() -> None:
    together = most = 0
    lock = threading.Lock()

    def slow(prefix: str) -> Iterator[Page]:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        time.sleep(0.02)
        with lock:
            together -= 1
        yield from tree(20, 20, 5)(prefix)

    assert sum(1 for _ in list_in_order(slow, "s3://b")) == 2000
    assert 8 <= most <= REQUESTS


def test_an_error_in_a_prefetched_folder_is_raised_in_its_turn_and_ends_the_listing() -> None:
    def failing(prefix: str) -> Iterable[Page]:
        if prefix == "0005/":
            raise StorageError("s3://b is away")
        return tree(20, 3)(prefix)

    stream = list_in_order(failing, "s3://b")
    assert [next(stream).key[:4] for _ in range(15)] == [f"{i:04d}" for i in range(5) for _ in range(3)]
    with pytest.raises(StorageError, match="is away"):
        next(stream)


def test_few_folders_are_held_however_many_there_are() -> None:
    given_up = Counter[str]()

    def counted(prefix: str) -> Iterator[Page]:
        given_up[prefix] += 1
        return tree(40, 40, 4, 2)(prefix)

    with FolderPrefetch(counted) as ahead:
        count = 0
        for _ in walk(ahead, expect=ahead.expect):
            count += 1
            assert len(ahead._begun) <= FOLDERS
    assert count == 40 * 40 * 4 * 2
    assert sum(given_up.values()) < 1.1 * len(given_up), "folders are requested again and again"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_a_flat_listing_divided_into_ranges_gives_every_key_once_in_byte_order(size: int) -> None:
    rng = random.Random(size)
    names = [*NAMES, "a", "a/", "b0", "b.\U0010ffff", "c", "d", "zz"]  # some parts hold a slash, or end with one
    for _ in range(60):
        depth, count = rng.randint(1, 4), rng.choice([3, 30, 300])
        keys = {"/".join(rng.choices(names, k=rng.randint(1, depth))) for _ in range(count)}
        found = [entry.key for entry in list_in_order(FlatListing(SortedServer(keys, size).page, "s3://b"), "s3://b")]
        assert found == sorted(keys)


@pytest.mark.parametrize(
    ("key", "most"),
    [
        (lambda i: f"{i:06d}", 1.0),
        (lambda i: f"{i // 3:05d}/{i:06d}", 1.8),
        (lambda i: f"{i // 200:05d}/{i:06d}", 1.4),
        (lambda i: f"photos/{i // 25_000}/{i // 900 % 20:02d}/{i:06d}", 1.6),
        (lambda i: f"{i // 50_000}/{i:06d}", 1.1),
    ],
    ids=["no folders", "of 3", "of 200", "levels", "of 50,000"],
)
def test_dividing_a_flat_listing_costs_few_requests(key: Callable[[int], str], most: float) -> None:
    server = SortedServer(map(key, range(100_000)))
    assert sum(1 for _ in list_in_order(FlatListing(server.page, "s3://b"), "s3://b")) == 100_000
    assert server.pages <= most * 100


@pytest.mark.parametrize("slash_counts", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_walk_gives_every_key_once_in_byte_order(size: int, slash_counts: bool) -> None:
    rng = random.Random(size)
    for _ in range(200):
        keys = {"/".join(rng.choices(NAMES, k=rng.randint(1, 4))) for _ in range(12)}
        found = [entry.key for entry in walk(pages_of(sorted(keys), size, slash_counts=slash_counts))]  # type: ignore[arg-type]
        assert found == sorted(keys, key=lambda key: key.encode())


def test_a_walk_lists_a_folder_only_when_it_reaches_it() -> None:
    asked = []

    def pages(prefix: str) -> Iterator[Page]:
        asked.append(prefix)
        yield Page(entries(["a"]), ["b/", "c/"]) if not prefix else Page(entries([prefix + "x"]), [])

    stream = walk(pages)
    assert next(stream).key == "a" and asked == [""]
    assert next(stream).key == "b/x" and asked == ["", "b/"]


def test_a_listing_that_is_out_of_order_is_refused_by_name() -> None:
    with pytest.raises(StorageError, match=r"s3://b lists 'a-b' after 'a/b'"):
        list(check_order(entries(["a", "a/b", "a-b"]), "s3://b"))


def test_a_listing_that_repeats_a_key_is_refused() -> None:
    with pytest.raises(StorageError, match="not in key order"):
        list(check_order(entries(["a", "a"]), "s3://b"))
