"""Shards hold the rows that were written, in key order, with correct statistics."""

import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.archive.schema import IMAGES
from pipeline.archive.shards.merge_reader import merged, merged_tables
from pipeline.archive.shards.row_hash import table_of
from pipeline.archive.shards.shard_writer import write_shard
from pipeline.storage.base import StorageError
from pipeline.storage.local.store import LocalStore
from tests.pipeline.making import original, originals


@pytest.fixture
def images(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path))


def content(images: LocalStore, path: str) -> list[dict[str, object]]:
    return list(pq.read_table(images.root / path).to_pylist())


def test_rows_in_any_order_are_sorted_by_key_and_lose_nothing(images: LocalStore) -> None:
    table = originals(["b", "a/z", "a-b", "é", "a"])
    shard = write_shard(images, [table.slice(0, 2), table.slice(2)])
    assert shard is not None
    assert content(images, shard.path) == sorted(table.to_pylist(), key=lambda row: row["key"])


def test_a_shards_facts_are_those_of_its_file(images: LocalStore) -> None:
    shard = write_shard(images, [originals(["b", "a", "c"])])
    assert shard is not None
    assert (shard.rows, shard.first_key, shard.last_key) == (3, "a", "c")
    assert shard.size == (images.root / shard.path).stat().st_size
    stats = json.loads(shard.stats)
    assert stats["numRecords"] == 3 and stats["nullCount"]["psnr"] == 3
    assert (stats["minValues"]["key"], stats["maxValues"]["key"]) == ("a", "c")


def test_statistics_stay_json_when_a_picture_came_back_exactly(images: LocalStore) -> None:
    rows = [original("a", psnr=40.0), original("b", psnr=math.inf), original("c", psnr=50.0)]
    shard = write_shard(images, [table_of(rows)])
    assert shard is not None

    def refuse(word: str) -> None:
        raise AssertionError(word)

    assert "psnr" not in json.loads(shard.stats, parse_constant=refuse)["maxValues"]
    assert [row["psnr"] for row in content(images, shard.path)] == [40.0, math.inf, 50.0]


def test_payloads_are_stored_as_they_are_and_without_statistics(images: LocalStore) -> None:
    shard = write_shard(images, [table_of([original("a", b"\0" * 100_000)])])
    assert shard is not None and shard.size > 100_000
    columns = pq.read_metadata(images.root / shard.path).row_group(0)
    payload = columns.column(IMAGES.get_field_index("payload"))
    assert payload.compression == "UNCOMPRESSED" and not payload.is_stats_set
    assert not payload.has_dictionary_page
    assert columns.column(IMAGES.get_field_index("status")).has_dictionary_page
    assert columns.column(0).has_offset_index and columns.column(0).has_column_index


def test_row_groups_are_limited_in_bytes_so_that_reading_one_key_is_cheap(images: LocalStore) -> None:
    shard = write_shard(images, [originals([f"{i:03d}" for i in range(100)], 1000)], row_group_bytes=10_000)
    assert shard is not None
    metadata = pq.read_metadata(images.root / shard.path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [10] * 10


def test_copy_on_write_replaces_changed_keys_drops_gone_ones_and_copies_the_rest(images: LocalStore) -> None:
    keys = [f"{i:03d}" for i in range(0, 100, 2)]
    old = write_shard(images, [originals(keys, 1000)], row_group_bytes=5_000)
    assert old is not None
    fresh = originals(["000", "051", "098", "zzz"], run="second")
    new = write_shard(images, [fresh], base=old.path, drop=["010", "not there"])
    assert new is not None
    expected = {row["key"]: row for row in content(images, old.path)} | {row["key"]: row for row in fresh.to_pylist()}
    del expected["010"]
    assert content(images, new.path) == [expected[key] for key in sorted(expected)]
    assert (new.rows, new.first_key, new.last_key) == (51, "000", "zzz")


def test_an_empty_shard_is_not_written(images: LocalStore) -> None:
    old = write_shard(images, [originals(["a", "b"])])
    assert old is not None
    assert write_shard(images, [], base=old.path, drop=["a", "b"]) is None
    assert write_shard(images, []) is None
    assert [entry.key for entry in images.entries()] == [old.path]


def test_a_key_given_twice_is_refused_and_nothing_is_written(images: LocalStore) -> None:
    with pytest.raises(ValueError, match="'a' is there twice"):
        write_shard(images, [originals(["a", "b", "a"])])
    assert list(images.entries()) == []


def test_a_row_without_a_required_column_is_refused(images: LocalStore) -> None:
    with pytest.raises(ValueError, match="sha256"):
        write_shard(images, [table_of([original("a", source_sha256=None)])])


def test_a_base_that_is_missing_is_an_error_and_nothing_is_written(images: LocalStore) -> None:
    with pytest.raises(StorageError, match="cannot be read"):
        write_shard(images, [originals(["a"])], base="part-gone.parquet")
    assert list(images.entries()) == []


def test_a_merge_of_shards_that_overlap_is_in_key_order_and_names_each_rows_shard(images: LocalStore) -> None:
    keys = [[f"{i:04d}" for i in range(start, 400, step)] for start, step in ((0, 7), (1, 7), (300, 50), (395, 1))]
    unique = [[key for key in part if not any(key in earlier for earlier in keys[:i])] for i, part in enumerate(keys)]
    unique = [part for part in unique if part]
    shards = [shard for part in unique if (shard := write_shard(images, [originals(part)]))]
    found = list(merged(images, shards, ["key", "run"]))
    expected = sorted((key, shard.path) for part, shard in zip(unique, shards, strict=True) for key in part)
    assert [(row[0], path) for row, path in found] == expected


def test_a_merge_opens_a_shard_only_near_its_first_key(images: LocalStore) -> None:
    shards = [shard for i in range(100) if (shard := write_shard(images, [originals([f"{i:03d}-a", f"{i:03d}-b"])]))]
    for shard in shards[50:]:
        images.delete(shard.path)  # reading one of these would fail
    stream = merged_tables(images, shards, ["key"], window_rows=10)
    assert [key for _ in range(6) for key in next(stream)["key"].to_pylist()][-1] == "029-b"
