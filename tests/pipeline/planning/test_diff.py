"""Planning: who is new, changed, gone; how keys are dealt into units; the manifest."""

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from model.core.errors import MaepressError
from pipeline.archive.merge_reader import SHARD
from pipeline.archive.schema import IMAGES, REJECTION_COLUMNS, REJECTIONS, ROW_COLUMNS
from pipeline.planning.diff import ENTRIES, Mask, State, Window, decide, in_tables
from pipeline.planning.manifest import Manifest
from pipeline.planning.shard_grouping import ByShard, Rework
from pipeline.planning.units import PIECE_OBJECTS, ROWS, Piece, deal_again, deal_new
from pipeline.storage.base import Entry
from pipeline.storage.local_store import LocalStore

ROWS_SCHEMA = pa.schema(
    [*(IMAGES.field(name) for name in (*ROW_COLUMNS, "quality", "encoded_at")), pa.field(SHARD, pa.int32())]
)
REFUSALS_SCHEMA = pa.schema([REJECTIONS.field(name) for name in REJECTION_COLUMNS])
Row = dict[str, Any]


def entry(key: str, etag: str = "1", size: int = 10) -> Entry:
    return Entry(key, size, etag)


def row(key: str, etag: str = "1", quality: int = 40, shard: int = 0) -> Row:
    return {
        "key": key,
        "etag": etag,
        "quality": quality,
        "source_bytes": 10,
        "encoded_at": datetime(2026, 1, 1, tzinfo=UTC),
        SHARD: shard,
    }


def refusal(key: str, etag: str = "1", stage: str = "read") -> Row:
    return {"key": key, "etag": etag, "stage": stage}


def in_pieces(rows: list[Row], schema: pa.Schema, size: int) -> Iterator[pa.Table]:
    return (pa.Table.from_pylist(rows[at : at + size], schema) for at in range(0, len(rows), size))


def of_other_quality(rows: pa.Table) -> Mask:
    return np.array(rows["quality"]) != 40


def windows(
    entries: list[Entry], rows: list[Row], refused: list[Row] | None = None, *, retry: bool = False, size: int = 2
) -> Iterator[Window]:
    """Decide on streams that come in tables of so many rows, or (the archive's) one more."""
    return decide(
        in_tables(entries, size),
        in_pieces(rows, ROWS_SCHEMA, size + 1),
        in_pieces(refused or [], REFUSALS_SCHEMA, size),
        is_stale=of_other_quality,
        retry_rejected=retry,
    )


def plan(
    entries: list[Entry], rows: list[Row], refused: list[Row] | None = None, *, retry: bool = False, size: int = 2
) -> dict[str, State]:
    states: dict[str, State] = {}
    for window in windows(entries, rows, refused, retry=retry, size=size):
        found = {str(key): State.GONE for key in window.gone_rows()["key"].to_pylist()}
        for state in window.states:
            found |= {str(key): state for key in window.objects(state)["key"].to_pylist()}
        assert not found.keys() & states.keys()
        assert len(found) == sum(window.counts().values())
        states |= found
    return states


def test_each_key_gets_the_state_that_its_etags_give_it() -> None:
    states = plan(
        [entry("a"), entry("b", "2"), entry("c"), entry("e"), entry("f")],
        [row("a"), row("b"), row("d"), row("e", quality=3), row("z")],
        [refusal("f", "0")],
    )
    assert states == {
        "a": State.UNCHANGED,
        "b": State.CHANGED,
        "c": State.NEW,
        "d": State.GONE,
        "e": State.STALE,
        "f": State.NEW,
        "z": State.GONE,
    }


def test_a_key_that_an_outage_kept_away_is_tried_again() -> None:
    assert plan([entry("a")], [], [refusal("a", "1", "outage")]) == {"a": State.NEW}


def test_a_refused_key_is_left_alone_until_it_changes_or_a_retry_is_asked_for() -> None:
    refused = [refusal("a", "0"), refusal("a", "1"), refusal("b", "1"), refusal("x", "1")]
    entries = [entry("a", "1"), entry("b", "2")]
    assert plan(entries, [], refused) == {"a": State.REJECTED, "b": State.NEW}
    assert plan(entries, [], refused, retry=True) == {"a": State.NEW, "b": State.NEW}
    assert plan(entries, [row("a", "0")], refused) == {"a": State.REJECTED, "b": State.NEW}


def test_the_merge_agrees_with_a_plain_comparison_of_dictionaries() -> None:
    rng = random.Random(1)
    for _ in range(300):
        keys = [f"{a}{b}" for a in "abc" for b in ("", "-", "/", "0", "é", "😀")]
        source = {k: str(rng.randint(0, 2)) for k in keys if rng.random() < 0.6}
        held = {k: str(rng.randint(0, 2)) for k in keys if rng.random() < 0.6}
        refused = {(k, str(rng.randint(0, 2))) for k in keys if rng.random() < 0.3}
        expected = {}
        for key in source.keys() | held.keys():
            if key not in source:
                expected[key] = State.GONE
            elif held.get(key) == source[key]:
                expected[key] = State.UNCHANGED
            elif (key, source[key]) in refused:
                expected[key] = State.REJECTED
            else:
                expected[key] = State.CHANGED if key in held else State.NEW
        by_bytes = lambda item: item[0].encode()  # noqa: E731
        got = plan(
            [entry(*item) for item in sorted(source.items(), key=by_bytes)],
            [row(*item) for item in sorted(held.items(), key=by_bytes)],
            [refusal(*item) for item in sorted(refused, key=by_bytes)],
            size=rng.choice([1, 2, 5, 100]),
        )
        assert got == expected


def test_what_changes_in_a_shard_comes_with_the_shard_and_its_age() -> None:
    (window,) = windows([entry("a", "2"), entry("b")], [row("a", shard=3), row("b", quality=3, shard=5)], size=9)
    changed, stale = window.objects(State.CHANGED).to_pylist(), window.objects(State.STALE).to_pylist()
    when = datetime(2026, 1, 1, tzinfo=UTC)
    assert changed == [{"key": "a", "size": 10, "etag": "2", SHARD: 3, "encoded_at": when}]
    assert stale == [{"key": "b", "size": 10, "etag": "1", SHARD: 5, "encoded_at": when}]


@pytest.mark.parametrize("size", [1, 2, 9])
def test_a_listing_that_is_out_of_order_is_refused_rather_than_losing_keys(size: int) -> None:
    with pytest.raises(MaepressError, match=r"listing is not in key order .'a' after 'b'"):
        plan([entry("b"), entry("a")], [], size=size)
    with pytest.raises(MaepressError, match=r"listing is not in key order .'a' after 'a'"):
        plan([entry("a"), entry("a")], [], size=size)
    with pytest.raises(MaepressError, match=r"archive is not in key order .'a' after 'a'"):
        plan([entry("a")], [row("a"), row("a")], size=size)


def test_planning_streams_and_holds_no_list_of_keys() -> None:
    taken = 0

    def endless() -> Iterator[Entry]:
        nonlocal taken
        while True:
            taken += 1
            yield entry(f"{taken:09d}")

    found = decide(in_tables(endless(), 10), [], [], is_stale=of_other_quality)
    assert next(found).objects(State.NEW)["key"][0].as_py() == "000000001"
    assert taken <= 20


def rows_of(pieces: list[Piece]) -> dict[int, int]:
    """Rows that each unit takes up on its way, padding included."""
    rows: dict[int, int] = {}
    for piece in pieces:
        rows[piece.unit] = rows.get(piece.unit, 0) + 1 + piece.padding
    return rows


@pytest.mark.parametrize("largest", [10, 100_000, 3_000_000, 200_000_000])
def test_every_unit_is_exactly_as_many_rows_and_keys_stay_in_order(largest: int) -> None:
    rng = random.Random(largest)
    entries = [entry(f"{i:05d}", size=rng.randint(0, largest)) for i in range(9000 if largest < 1000 else 700)]
    pieces = list(deal_new(entries, 64 << 20))
    assert [e for piece in pieces for e in piece.objects] == entries
    assert set(rows_of(pieces).values()) == {ROWS}
    assert list(rows_of(pieces)) == list(range(len(rows_of(pieces))))
    assert max(len(piece.objects) for piece in pieces) <= PIECE_OBJECTS
    for piece in pieces:
        assert sum(e.size for e in piece.objects[:-1]) < (64 << 20) // ROWS


def test_the_changed_keys_of_one_shard_are_one_unit_whatever_their_size() -> None:
    entries = [entry(f"{i:05d}", size=5_000_000) for i in range(900)]
    pieces = list(deal_again("part-1", entries, 7, 1 << 20))
    assert rows_of(pieces) == {7: ROWS}
    assert [e for piece in pieces for e in piece.objects] == entries
    assert {piece.base for piece in pieces} == {"part-1"}


def objects(*keys: str, shard: int, size: int = 10, age: int = 0) -> pa.Table:
    when = datetime(2026, 1, 9, tzinfo=UTC) - timedelta(days=age)
    rows = [{"key": key, "size": size, "etag": "1", SHARD: shard, "encoded_at": when} for key in keys]
    columns = {"encoded_at": pa.timestamp("us", "UTC"), SHARD: pa.int32()}
    return pa.Table.from_pylist(rows, pa.schema([*ENTRIES, *pa.schema(columns)]))


def test_keys_put_in_by_key_come_out_by_shard() -> None:
    with ByShard() as again:
        again.add_changed(objects("a", shard=2, size=2**40))
        again.add_changed(objects("b", shard=1))
        again.add_gone(objects("b-gone", shard=1))
        again.add_changed(objects("c", shard=2))
        again.add_changed(objects("é", shard=1))
        again.add_gone(objects("z-gone", shard=0))
        again.choose_stale(None)
        kept = [Rework(1, (entry("b"), entry("é")), ()), Rework(2, (entry("a", size=2**40), entry("c")), ())]
        assert list(again.due(retire=False)) == kept
        gone = [Rework(0, (), ("z-gone",)), Rework(1, (entry("b"), entry("é")), ("b-gone",)), kept[1]]
        assert list(again.due(retire=True)) == gone
        assert list(again.spare()) == []


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
    with ByShard() as again:
        again.add_stale(objects("a", "e", shard=1, age=5))
        again.add_changed(objects("c", shard=1))
        again.add_stale(objects("d", shard=3, age=3))
        again.add_stale(objects("f", shard=4, age=8))
        again.add_stale(objects("h", shard=0, age=1))
        assert again.choose_stale(limit) == (chosen, 10 * chosen)
        assert {r.shard: "".join(e.key for e in r.entries) for r in again.due(retire=True)} == due
        found = [(r.shard, "".join(e.key for e in r.entries)) for r in again.spare()]
        assert found == list(spare.items())


def test_a_unit_that_only_drops_keys_is_one_piece_without_objects() -> None:
    assert list(deal_again("part-1", [], 7, 1 << 20, ("a", "b"))) == [Piece(7, "part-1", (), ROWS - 1, ("a", "b"))]


def test_a_manifest_gives_back_its_pieces_in_parts_that_end_where_a_unit_ends(tmp_path: Path) -> None:
    entries = [entry(f"ключ/{i:05d}", size=100_000) for i in range(2000)]
    pieces = [*deal_new(entries, 4 << 20), *deal_again("part-1", entries[:3], 1000, 4 << 20, ("gone/ä", "x"))]
    manifest = Manifest(LocalStore(str(tmp_path)), "run")
    manifest.write(pieces, wave=600)
    parts = [list(part) for part in manifest.parts()]
    assert [piece for part in parts for piece in part] == pieces
    assert len(parts) > 1
    for before, after in itertools.pairwise(parts):
        assert before[-1].unit != after[0].unit
        assert 600 <= len(before) < 600 + ROWS
    manifest.remove()
    assert not list(tmp_path.rglob("*.parquet"))


def test_an_empty_plan_has_no_parts(tmp_path: Path) -> None:
    manifest = Manifest(LocalStore(str(tmp_path)), "run")
    manifest.write([])
    assert list(manifest.parts()) == []
    manifest.remove()
