"""The comparison of listing and archive: which key is new, changed, stale, unchanged, rejected or gone."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from model.core.errors import MaepressError
from pipeline.archive.ledgers.erasures import BarredKeys, key_hash
from pipeline.archive.schema import IMAGES, REJECTION_COLUMNS, REJECTIONS, ROW_COLUMNS
from pipeline.archive.shards.merge_reader import SHARD
from pipeline.planning.diff import DiffWindow, KeyState, Mask, compare_keys, in_tables
from pipeline.storage.base import Entry

ROWS_SCHEMA = pa.schema(
    [*(IMAGES.field(name) for name in (*ROW_COLUMNS, "quality", "encoded_at")), pa.field(SHARD, pa.int32())]
)
REJECTIONS_SCHEMA = pa.schema([REJECTIONS.field(name) for name in REJECTION_COLUMNS])
KEYS_SCHEMA = pa.schema([IMAGES.field("key")])
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


def rejection(key: str, etag: str = "1", stage: str = "read") -> Row:
    return {"key": key, "etag": etag, "stage": stage}


def in_pieces(rows: list[Row], schema: pa.Schema, size: int) -> Iterator[pa.Table]:
    return (pa.Table.from_pylist(rows[at : at + size], schema) for at in range(0, len(rows), size))


def of_other_quality(rows: pa.Table) -> Mask:
    mask: Mask = np.array(rows["quality"]) != 40
    return mask


def windows(
    entries: list[Entry], rows: list[Row], rejected: list[Row] | None = None, *, retry: bool = False, size: int = 2
) -> Iterator[DiffWindow]:
    """Compare streams that come in tables of `size` rows, the archive's in tables of one row more."""
    return compare_keys(
        in_tables(entries, size),
        in_pieces(rows, ROWS_SCHEMA, size + 1),
        in_pieces(rejected or [], REJECTIONS_SCHEMA, size),
        is_stale=of_other_quality,
        retry_rejected=retry,
    )


def plan(
    entries: list[Entry], rows: list[Row], rejected: list[Row] | None = None, *, retry: bool = False, size: int = 2
) -> dict[str, KeyState]:
    states: dict[str, KeyState] = {}
    for window in windows(entries, rows, rejected, retry=retry, size=size):
        found = {str(key): KeyState.GONE for key in window.gone_rows()["key"].to_pylist()}
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
        [rejection("f", "0")],
    )
    assert states == {
        "a": KeyState.UNCHANGED,
        "b": KeyState.CHANGED,
        "c": KeyState.NEW,
        "d": KeyState.GONE,
        "e": KeyState.STALE,
        "f": KeyState.NEW,
        "z": KeyState.GONE,
    }


def test_a_key_that_an_outage_kept_away_is_tried_again() -> None:
    assert plan([entry("a")], [], [rejection("a", "1", "outage")]) == {"a": KeyState.NEW}


def test_a_refused_key_is_left_alone_until_it_changes_or_a_retry_is_asked_for() -> None:
    rejected = [rejection("a", "0"), rejection("a", "1"), rejection("b", "1"), rejection("x", "1")]
    entries = [entry("a", "1"), entry("b", "2")]
    assert plan(entries, [], rejected) == {"a": KeyState.REJECTED, "b": KeyState.NEW}
    assert plan(entries, [], rejected, retry=True) == {"a": KeyState.NEW, "b": KeyState.NEW}
    assert plan(entries, [row("a", "0")], rejected) == {"a": KeyState.REJECTED, "b": KeyState.NEW}


def test_the_merge_agrees_with_a_plain_comparison_of_dictionaries() -> None:
    rng = random.Random(1)
    for _ in range(300):
        keys = [f"{a}{b}" for a in "abc" for b in ("", "-", "/", "0", "é", "😀")]
        source = {k: str(rng.randint(0, 2)) for k in keys if rng.random() < 0.6}
        held = {k: str(rng.randint(0, 2)) for k in keys if rng.random() < 0.6}
        rejected = {(k, str(rng.randint(0, 2))) for k in keys if rng.random() < 0.3}
        expected = {}
        for key in source.keys() | held.keys():
            if key not in source:
                expected[key] = KeyState.GONE
            elif held.get(key) == source[key]:
                expected[key] = KeyState.UNCHANGED
            elif (key, source[key]) in rejected:
                expected[key] = KeyState.REJECTED
            else:
                expected[key] = KeyState.CHANGED if key in held else KeyState.NEW
        by_bytes = lambda item: item[0].encode()  # noqa: E731
        got = plan(
            [entry(*item) for item in sorted(source.items(), key=by_bytes)],
            [row(*item) for item in sorted(held.items(), key=by_bytes)],
            [rejection(*item) for item in sorted(rejected, key=by_bytes)],
            size=rng.choice([1, 2, 5, 100]),
        )
        assert got == expected


def test_released_rows_stay_whatever_the_source_has_and_barred_keys_are_passed_over() -> None:
    salt = bytes(32)
    barred = BarredKeys({salt: frozenset(key_hash(salt, key) for key in ("x", "y"))})
    windows = compare_keys(
        in_tables([entry("back", "2"), entry("same"), entry("stale"), entry("x"), entry("z")], 2),
        in_pieces([row("back"), row("gone"), row("let go"), row("same"), row("stale", quality=3)], ROWS_SCHEMA, 3),
        in_pieces([rejection("x")], REJECTIONS_SCHEMA, 2),
        is_stale=of_other_quality,
        released=in_pieces([{"key": key} for key in ("back", "let go", "never had", "stale")], KEYS_SCHEMA, 3),
        barred=barred,
    )
    counts: Counter[KeyState] = Counter()
    for window in windows:
        counts.update(window.counts())
    assert +counts == {
        KeyState.REAPPEARED: 1,  # back
        KeyState.GONE: 1,
        KeyState.RELEASED: 1,  # let go
        KeyState.UNCHANGED: 2,  # same and stale
        KeyState.BARRED: 1,  # x, also where it was rejected before
        KeyState.NEW: 1,  # z
    }


def test_what_changes_in_a_shard_comes_with_the_shard_and_its_age() -> None:
    (window,) = windows([entry("a", "2"), entry("b")], [row("a", shard=3), row("b", quality=3, shard=5)], size=9)
    changed, stale = window.objects(KeyState.CHANGED).to_pylist(), window.objects(KeyState.STALE).to_pylist()
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

    found = compare_keys(in_tables(endless(), 10), [], [], is_stale=of_other_quality)
    assert next(found).objects(KeyState.NEW)["key"][0].as_py() == "000000001"
    assert taken <= 20
