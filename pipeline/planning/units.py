"""Divides keys into units of work.

A *unit* becomes one shard: a contiguous range of new keys, or one existing shard (`base`) of which
some keys are compressed again. A unit consists of *pieces*, runs of its keys that are fetched,
decoded and encoded together:

    unit 7    piece 0: keys a b c     piece 1: keys d e f g     piece 2: key h     + 29 rows of padding
    unit 8    piece 0: keys i j       ...

One piece is one row in the pipeline, and every unit has exactly `UNIT_ROWS` rows, padding included.
So the stage that writes shards takes `UNIT_ROWS` rows at a time, in order, and has a whole unit: it
keeps no state, and any number of writers work side by side.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.storage.base import Entry

UNIT_ROWS = 32
"""Rows of every unit, and so the largest number of its pieces."""

MAX_PIECE_OBJECTS = 128
"""Largest number of objects in a piece, so that a unit of thumbnails has at most 4,096."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of keys that travels through the pipeline as one row.

    Attributes:
        unit: number of its unit, counted over the whole plan.
        base: the shard that the unit replaces, relative to `images/`; None for new keys.
        objects: objects to compress, in key order; none in a unit that only removes keys.
        padding: rows that follow this one to fill up the unit; 0 for all but its last piece.
        drop: keys that leave the shard `base`; in the unit's first piece.
    """

    unit: int
    base: str | None
    objects: tuple[Entry, ...]
    padding: int = 0
    drop: tuple[str, ...] = ()


def units_of_new_keys(entries: Iterable[Entry], unit_bytes: int, first_unit: int = 0) -> Iterator[Piece]:
    """The pieces of new keys, in units of about `unit_bytes` of source.

    Args:
        entries: in key order.
        unit_bytes: a unit ends when its objects reach this number of bytes, or when its rows are
            used up.
        first_unit: number of the first unit.
    """
    unit, pieces, size = first_unit, list[tuple[Entry, ...]](), 0
    for piece in _runs(entries, unit_bytes // UNIT_ROWS, MAX_PIECE_OBJECTS):
        pieces.append(piece)
        size += sum(e.size for e in piece)
        if size >= unit_bytes or len(pieces) == UNIT_ROWS:
            yield from _unit(unit, None, pieces)
            unit, pieces, size = unit + 1, [], 0
    if pieces:
        yield from _unit(unit, None, pieces)


def rework_unit(
    base: str, entries: Sequence[Entry], unit: int, unit_bytes: int, drop: tuple[str, ...] = ()
) -> Iterator[Piece]:
    """The pieces of the one unit that replaces a shard.

    There is one unit whatever its size, because two units cannot replace one shard.

    Args:
        base: the shard.
        entries: those of its keys that are compressed again.
        unit: the unit's number.
        unit_bytes: bytes of a unit of new keys; determines the size of the pieces.
        drop: those of its keys that leave it.
    """
    piece_bytes, piece_objects = unit_bytes // UNIT_ROWS, MAX_PIECE_OBJECTS
    while len(pieces := list(_runs(entries, piece_bytes, piece_objects))) > UNIT_ROWS:
        piece_bytes, piece_objects = 2 * piece_bytes, 2 * piece_objects
    return _unit(unit, base, pieces or [()], drop)


def _unit(
    unit: int, base: str | None, pieces: Sequence[tuple[Entry, ...]], drop: tuple[str, ...] = ()
) -> Iterator[Piece]:
    for i, objects in enumerate(pieces):
        padding = UNIT_ROWS - len(pieces) if i == len(pieces) - 1 else 0
        yield Piece(unit, base, objects, padding, drop if i == 0 else ())


def _runs(entries: Iterable[Entry], run_bytes: int, run_objects: int) -> Iterator[tuple[Entry, ...]]:
    """Consecutive entries; a run ends when it reaches either limit."""
    run, size = list[Entry](), 0
    for entry in entries:
        run.append(entry)
        size += entry.size
        if size >= run_bytes or len(run) == run_objects:
            yield tuple(run)
            run, size = [], 0
    if run:
        yield tuple(run)
