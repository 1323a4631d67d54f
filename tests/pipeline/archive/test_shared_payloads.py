"""Payloads that rows share: whoever reads rows gets them whole, or the damage of exactly those that are not."""

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from pipeline.archive.archive import Archive
from pipeline.archive.reader import read_image
from pipeline.archive.schema import IMAGES
from pipeline.archive.shards import shared_payloads
from pipeline.archive.shards.payload_references import shared_payloads as payloads_of
from pipeline.archive.shards.row_hash import changed_rows
from pipeline.archive.shards.shard_reader import salvaged_rows
from pipeline.archive.shards.shared_payloads import key_of, name_of
from pipeline.storage.base import Outage, Readable, StorageError
from pipeline.storage.file_cache import FileCache
from pipeline.storage.local.store import LocalStore
from pipeline.verify.run import verify
from pipeline.verify.settings import VerifySettings
from tests.pipeline.making import TWICE, archive_with_copies, rows_in

NAME = name_of(TWICE, "once")
OBJECT = key_of(NAME)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return archive_with_copies(str(tmp_path_factory.mktemp("once") / "archive"))


@pytest.fixture
def archive(made: Archive, tmp_path: Path) -> Archive:
    """A copy to be changed."""
    shutil.copytree(made.url, tmp_path / "archive")
    return Archive.open(str(tmp_path / "archive"))


def problems(archive: Archive) -> list[str]:
    found = verify(VerifySettings(archive=archive.url, executor="local"), quiet=True).problems
    return sorted(f"{one.key}: {one.problem}" for one in found)


def rewritten(archive: Archive, **values: Any) -> None:
    """As another tool would: the stored row of `copy/a` with other values, all files new."""
    rows = DeltaTable(archive.images.absolute_url).to_pyarrow_table().to_pylist()
    changed = [row | values if row["key"] == "copy/a" else row for row in rows]
    write_deltalake(archive.images.absolute_url, pa.Table.from_pylist(changed, IMAGES), mode="overwrite")


def test_readers_get_whole_rows_whose_hashes_hold(made: Archive) -> None:
    rows = rows_in(made)
    assert rows["a"]["payload"] == rows["copy/a"]["payload"] == TWICE
    assert {row["same_as"] for row in rows.values()} == {None}
    assert not any(changed_rows(pa.Table.from_pylist(list(rows.values()), IMAGES)))
    assert made.row("copy/a") == rows["copy/a"] and read_image(made, "copy/a") == TWICE
    assert made.row("copy/a", ["key"]) == {"key": "copy/a"} and problems(made) == []
    assert list(payloads_of(made.images)) == [OBJECT]


def test_other_tools_see_where_the_payload_is(made: Archive) -> None:
    images = duckdb.read_parquet(DeltaTable(made.images.absolute_url).file_uris())
    found = duckdb.sql("SELECT key, payload, same_as, payload_bytes FROM images WHERE same_as IS NOT NULL ORDER BY key")
    assert images.shape[0] == 6
    assert found is not None and found.fetchall() == [(key, b"", NAME, len(TWICE)) for key in ("a", "copy/a")]


def test_only_the_payload_that_is_asked_for_is_read(made: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    real = shared_payloads.get

    def get(images: Readable, name: object, most_bytes: int | None = None) -> bytes:
        asked.append(name)
        return real(images, name, most_bytes)

    monkeypatch.setattr(shared_payloads, "get", get)
    assert made.row("b", ["payload"]) is not None and made.row("a", ["payload_bytes", "same_as"]) is not None
    assert asked == []
    assert made.row("a", ["payload"]) == {"payload": TWICE} and asked == [NAME]


def test_a_local_cache_of_shards_holds_them_too(archive: Archive, tmp_path: Path) -> None:
    cache = FileCache(archive.images, tmp_path / "cache", 1 << 20)
    assert cache.get(OBJECT) == TWICE
    archive.images.delete(OBJECT)
    assert cache.get(OBJECT, len(TWICE)) == TWICE
    with pytest.raises(StorageError, match="6144 bytes are more than 10"):
        cache.get(OBJECT, 10)


@pytest.mark.parametrize("damage", ["missing", "damaged", "cut short", "larger"])
def test_a_payload_that_is_gone_is_named_per_row_and_harms_no_other(archive: Archive, damage: str) -> None:
    path = Path(archive.images.absolute_url) / OBJECT
    match damage:
        case "missing":
            path.unlink()
        case "damaged":
            path.write_bytes(TWICE[:-1] + b"\0")
        case "cut short":
            path.write_bytes(TWICE[:100])
        case "larger":
            path.write_bytes(TWICE + b"more")
    said = f"its payload, which rows share, is missing or damaged: images/{OBJECT}"
    assert problems(archive) == [f"a: {said}", f"copy/a: {said}"]
    with pytest.raises(StorageError, match=r"a payload that rows share cannot be read: .*_contents"):
        archive.row("a")
    assert archive.row("b") is not None
    for shard in archive.shards():
        found = salvaged_rows(archive.images, shard.path, IMAGES.names)
        flags = {row["key"]: damaged for rows in found for row, damaged in rows if isinstance(row, dict)}
        assert flags == {key: key in ("a", "copy/a") for key in flags}


OTHERS = ("../../../secret", "/etc/passwd", name_of(b"another", "once"), NAME[:-1], NAME[:64], NAME + "/../x")


@pytest.mark.parametrize("pointer", [*OTHERS, "A" * 64, "\N{SNOWMAN}" * 64, "", None])
def test_a_pointer_of_others_leads_nowhere(archive: Archive, pointer: str | None) -> None:
    (Path(archive.url).parent / "secret").write_bytes(TWICE)
    rewritten(archive, same_as=pointer)
    (problem,) = problems(archive)
    assert problem.startswith("copy/a: ") and "\n" not in problem
    assert rows_in_all_but(archive, "copy/a") == {"a", "b", "z", "small/1", "small/2"}


def rows_in_all_but(archive: Archive, key: str) -> set[str]:
    return {row.key for row in archive.rows_by_key() if row.key != key and archive.row(row.key)}


def test_a_pointer_beside_a_payload_does_not_count_and_is_named(archive: Archive) -> None:
    rewritten(archive, payload=TWICE)
    assert archive.row("copy/a", ["payload"]) == {"payload": TWICE}
    (problem,) = problems(archive)
    assert problem.startswith("copy/a: its row is not the one that was written")


def test_rows_that_claim_huge_payloads_are_refused_before_anything_is_read(archive: Archive) -> None:
    rewritten(archive, payload_bytes=3 << 30)
    assert any("copy/a: " in problem for problem in problems(archive))
    with pytest.raises(StorageError, match=r"claim 3\.0 GiB of payloads"):
        archive.row("copy/a")


def test_an_outage_is_no_damage(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    real = LocalStore.get

    def away(store: LocalStore, key: str, max_bytes: int | None = None) -> bytes:
        if key == OBJECT:
            raise Outage(f"{store.url}/{key} cannot be read: 503")
        return real(store, key, max_bytes)

    monkeypatch.setattr(LocalStore, "get", away)
    (shard, _) = archive.shards()
    with pytest.raises(Outage):
        list(salvaged_rows(archive.images, shard.path, IMAGES.names))
