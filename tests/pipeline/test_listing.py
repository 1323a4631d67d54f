"""Keys come in byte order, whatever order folders come in."""

import random
from collections.abc import Iterator

import pytest

from pipeline.listing import Page, ordered, walk
from pipeline.store import Entry, StorageError

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


@pytest.mark.parametrize("slash_counts", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_walk_gives_every_key_once_in_byte_order(size: int, slash_counts: bool) -> None:
    rng = random.Random(size)
    for _ in range(200):
        keys = {"/".join(rng.choices(["a", "b", "a-", "a.b", "a!", "é", "0"], k=rng.randint(1, 4))) for _ in range(12)}
        found = [entry.key for entry in walk(pages_of(sorted(keys), size, slash_counts=slash_counts))]  # type: ignore[arg-type]
        assert found == sorted(keys, key=lambda key: key.encode())


def test_a_walk_asks_for_a_folder_only_when_its_turn_has_come() -> None:
    asked = []

    def pages(prefix: str) -> Iterator[Page]:
        asked.append(prefix)
        yield Page(entries(["a"]), ["b/", "c/"]) if not prefix else Page(entries([prefix + "x"]), [])

    stream = walk(pages)
    assert next(stream).key == "a" and asked == [""]
    assert next(stream).key == "b/x" and asked == ["", "b/"]


def test_a_listing_that_is_out_of_order_is_refused_by_name() -> None:
    with pytest.raises(StorageError, match=r"s3://b lists 'a-b' after 'a/b'"):
        list(ordered(entries(["a", "a/b", "a-b"]), "s3://b"))


def test_a_listing_that_repeats_a_key_is_refused() -> None:
    with pytest.raises(StorageError, match="not in key order"):
        list(ordered(entries(["a", "a"]), "s3://b"))
