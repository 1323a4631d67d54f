"""Dealing keys into units of work.

A *unit* becomes one shard: a contiguous range of new keys, or one existing shard of which some keys are pressed again
(`base`). A unit is dealt as *pieces*, runs of its keys that are fetched, decoded and encoded together:

    unit 7    piece 0: keys a b c     piece 1: keys d e f g     piece 2: key h     + 29 rows of padding
    unit 8    piece 0: keys i j       ...

One piece is one row on its way through the pipeline, and every unit is exactly `ROWS` rows long, padding included. So
the stage that writes need only take `ROWS` rows at a time, in order, to see each unit whole: it keeps no state, and any
number of writers work side by side.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.storage.base import Entry

ROWS = 32
"""Rows of every unit: the most pieces that it can have."""

PIECE_OBJECTS = 128
"""Most objects of a piece, so that a unit of thumbnails has at most 4,096."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of keys that travels as one row.

    Attributes:
        unit: number of the unit it belongs to, counted over the whole plan.
        base: the shard that the unit replaces, relative to `images/`; None for new keys.
        objects: what to press, in key order; none in a unit that only drops keys.
        padding: rows that follow this one to fill up the unit; 0 for all but its last piece.
        drop: keys that leave the shard `base`; in the unit's first piece.
    """

    unit: int
    base: str | None
    objects: tuple[Entry, ...]
    padding: int = 0
    drop: tuple[str, ...] = ()


def deal_new(entries: Iterable[Entry], unit_bytes: int, first_unit: int = 0) -> Iterator[Piece]:
    """New keys as units of about `unit_bytes` of source.

    Args:
        entries: in key order.
        unit_bytes: a unit ends when its objects reach so many bytes (or its rows are used up).
        first_unit: number of the first unit.
    """
    unit, pieces, size = first_unit, list[tuple[Entry, ...]](), 0
    for piece in _cut(entries, unit_bytes // ROWS, PIECE_OBJECTS):
        pieces.append(piece)
        size += sum(e.size for e in piece)
        if size >= unit_bytes or len(pieces) == ROWS:
            yield from _unit(unit, None, pieces)
            unit, pieces, size = unit + 1, [], 0
    if pieces:
        yield from _unit(unit, None, pieces)


def deal_again(
    base: str, entries: Sequence[Entry], unit: int, unit_bytes: int, drop: tuple[str, ...] = ()
) -> Iterator[Piece]:
    """What changes in one shard, as one unit of any size: two units cannot replace one shard.

    Args:
        base: the shard.
        entries: of its keys, those that are pressed again.
        unit: the unit's number.
        unit_bytes: what a unit of new keys would have; gives the size of the pieces.
        drop: of its keys, those that leave.
    """
    piece_bytes, piece_objects = unit_bytes // ROWS, PIECE_OBJECTS
    while len(pieces := list(_cut(entries, piece_bytes, piece_objects))) > ROWS:
        piece_bytes, piece_objects = 2 * piece_bytes, 2 * piece_objects
    return _unit(unit, base, pieces or [()], drop)


def _unit(
    unit: int, base: str | None, pieces: Sequence[tuple[Entry, ...]], drop: tuple[str, ...] = ()
) -> Iterator[Piece]:
    for i, objects in enumerate(pieces):
        padding = ROWS - len(pieces) if i == len(pieces) - 1 else 0
        yield Piece(unit, base, objects, padding, drop if i == 0 else ())


def _cut(entries: Iterable[Entry], most_bytes: int, most_objects: int) -> Iterator[tuple[Entry, ...]]:
    """Runs that end when they reach the bytes or the number of objects."""
    run, size = list[Entry](), 0
    for entry in entries:
        run.append(entry)
        size += entry.size
        if size >= most_bytes or len(run) == most_objects:
            yield tuple(run)
            run, size = [], 0
    if run:
        yield tuple(run)
