"""Changes that are found in key order come out shard by shard."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from pipeline.archive.shards.merge_reader import SHARD
from pipeline.planning.diff import ENTRIES
from pipeline.planning.shard_grouping import ReworkByShard, ShardRework
from pipeline.storage.base import Entry


def entry(key: str, etag: str = "1", size: int = 10) -> Entry:
    return Entry(key, size, etag)


def objects(*keys: str, shard: int, size: int = 10, age: int = 0) -> pa.Table:
    when = datetime(2026, 1, 9, tzinfo=UTC) - timedelta(days=age)
    rows = [{"key": key, "size": size, "etag": "1", SHARD: shard, "encoded_at": when} for key in keys]
    columns = {"encoded_at": pa.timestamp("us", "UTC"), SHARD: pa.int32()}
    return pa.Table.from_pylist(rows, pa.schema([*ENTRIES, *pa.schema(columns)]))


def test_keys_put_in_by_key_come_out_by_shard() -> None:
    with ReworkByShard() as again:
        again.add_changed(objects("a", shard=2, size=2**40))
        again.add_changed(objects("b", shard=1))
        again.add_gone(objects("b-gone", shard=1))
        again.add_changed(objects("c", shard=2))
        again.add_changed(objects("é", shard=1))
        again.add_gone(objects("z-gone", shard=0))
        again.choose_stale(None)
        kept = [ShardRework(1, (entry("b"), entry("é")), ()), ShardRework(2, (entry("a", size=2**40), entry("c")), ())]
        assert list(again.required(retire=False)) == kept
        gone = [ShardRework(0, (), ("z-gone",)), ShardRework(1, (entry("b"), entry("é")), ("b-gone",)), kept[1]]
        assert list(again.required(retire=True)) == gone
        assert list(again.optional()) == []


@pytest.mark.parametrize(
    ("limit", "chosen", "due", "spare"),
    [
        (None, 5, {1: "ace"}, {4: "f", 3: "d", 0: "h"}),
        (4, 4, {1: "ace"}, {4: "f", 3: "d"}),
        (2, 2, {1: "ac"}, {4: "f"}),
        (1, 1, {1: "c"}, {4: "f"}),
        (0, 0, {1: "c"}, {}),
    ],
)
def test_a_budget_takes_the_shards_with_the_oldest_rows_first(
    limit: int | None, chosen: int, due: dict[int, str], spare: dict[int, str]
) -> None:
    with ReworkByShard() as again:
        again.add_stale(objects("a", "e", shard=1, age=5))
        again.add_changed(objects("c", shard=1))
        again.add_stale(objects("d", shard=3, age=3))
        again.add_stale(objects("f", shard=4, age=8))
        again.add_stale(objects("h", shard=0, age=1))
        assert again.choose_stale(limit) == (chosen, 10 * chosen)
        assert {r.shard: "".join(e.key for e in r.entries) for r in again.required(retire=True)} == due
        found = [(r.shard, "".join(e.key for e in r.entries)) for r in again.optional()]
        assert found == list(spare.items())
