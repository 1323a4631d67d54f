"""Planning: who is new, changed, gone; how keys are dealt into units; the manifest."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.errors import MaepressError
from pipeline.archive import IndexRow, RejectionRow
from pipeline.local_store import LocalStore
from pipeline.manifest import Manifest
from pipeline.planning import Decision, State, decide
from pipeline.regroup import ByShard
from pipeline.store import Entry
from pipeline.units import PIECE_OBJECTS, ROWS, Piece, deal_again, deal_new


def entry(key: str, etag: str = "1", size: int = 10) -> Entry:
    return Entry(key, size, etag)


def row(key: str, etag: str = "1", quality: int = 40, shard: str = "s") -> IndexRow:
    return IndexRow(key, etag, "latent", "m", quality, shard)


def refusal(key: str, etag: str = "1") -> RejectionRow:
    return RejectionRow(key, etag, "read", "broken")


def plan(
    entries: list[Entry], rows: list[IndexRow], refused: list[RejectionRow] | None = None, *, retry: bool = False
) -> dict[str, State]:
    decisions = decide(entries, rows, refused or [], is_stale=lambda r: r.quality != 40, retry_rejected=retry)
    return {decision.key: decision.state for decision in decisions}


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
    assert plan([entry("a")], [], [RejectionRow("a", "1", "outage", "no answer")]) == {"a": State.NEW}


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
        )
        assert got == expected


def test_a_listing_that_is_out_of_order_is_refused_rather_than_losing_keys() -> None:
    with pytest.raises(MaepressError, match="not in key order"):
        plan([entry("b"), entry("a")], [])
    with pytest.raises(MaepressError, match="not in key order"):
        plan([entry("a"), entry("a")], [])


def test_planning_streams_and_holds_no_list_of_keys() -> None:
    taken = 0

    def endless() -> Iterator[Entry]:
        nonlocal taken
        while True:
            taken += 1
            yield entry(f"{taken:09d}")

    decisions = decide(endless(), [], [], is_stale=lambda _: False)
    first = [next(decisions) for _ in range(5)]
    assert first[0] == Decision(State.NEW, "000000001", entry("000000001"))
    assert taken <= 6


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


def test_keys_put_in_by_key_come_out_by_shard() -> None:
    with ByShard() as again:
        for key, shard in (("a", "s2"), ("b", "s1"), ("c", "s2"), ("é", "s1")):
            again.add(shard, entry(key, etag=key, size=2**40))
        groups = dict(again.groups())
    assert groups == {
        "s1": [entry("b", "b", 2**40), entry("é", "é", 2**40)],
        "s2": [entry("a", "a", 2**40), entry("c", "c", 2**40)],
    }


def test_a_manifest_gives_back_its_pieces_in_parts_that_end_where_a_unit_ends(tmp_path: Path) -> None:
    entries = [entry(f"ключ/{i:05d}", size=100_000) for i in range(2000)]
    pieces = [*deal_new(entries, 4 << 20), *deal_again("part-1", entries[:3], 1000, 4 << 20)]
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
