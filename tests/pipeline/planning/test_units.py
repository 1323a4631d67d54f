"""Units of work: every unit has the same number of rows, and keys stay in order."""

import random

import pytest

from pipeline.planning.units import MAX_PIECE_OBJECTS, UNIT_ROWS, Piece, rework_unit, units_of_new_keys
from pipeline.storage.base import Entry


def entry(key: str, etag: str = "1", size: int = 10) -> Entry:
    return Entry(key, size, etag)


def rows_of(pieces: list[Piece]) -> dict[int, int]:
    """Rows of each unit in the dataflow, padding included."""
    rows: dict[int, int] = {}
    for piece in pieces:
        rows[piece.unit] = rows.get(piece.unit, 0) + 1 + piece.padding
    return rows


@pytest.mark.parametrize("largest", [10, 100_000, 3_000_000, 200_000_000])
def test_every_unit_is_exactly_as_many_rows_and_keys_stay_in_order(largest: int) -> None:
    rng = random.Random(largest)
    entries = [entry(f"{i:05d}", size=rng.randint(0, largest)) for i in range(9000 if largest < 1000 else 700)]
    pieces = list(units_of_new_keys(entries, 64 << 20))
    assert [e for piece in pieces for e in piece.objects] == entries
    assert set(rows_of(pieces).values()) == {UNIT_ROWS}
    assert list(rows_of(pieces)) == list(range(len(rows_of(pieces))))
    assert max(len(piece.objects) for piece in pieces) <= MAX_PIECE_OBJECTS
    for piece in pieces:
        assert sum(e.size for e in piece.objects[:-1]) < (64 << 20) // UNIT_ROWS


def test_the_changed_keys_of_one_shard_are_one_unit_whatever_their_size() -> None:
    entries = [entry(f"{i:05d}", size=5_000_000) for i in range(900)]
    pieces = list(rework_unit("part-1", entries, 7, 1 << 20))
    assert rows_of(pieces) == {7: UNIT_ROWS}
    assert [e for piece in pieces for e in piece.objects] == entries
    assert {piece.base for piece in pieces} == {"part-1"}


def test_a_unit_that_only_drops_keys_is_one_piece_without_objects() -> None:
    assert list(rework_unit("part-1", [], 7, 1 << 20, ("a", "b"))) == [
        Piece(7, "part-1", (), UNIT_ROWS - 1, ("a", "b"))
    ]
