"""The table format between the stages: a piece is one row of four columns at every stage.

unit    int64           number of the piece's unit
base    string          the shard that the unit replaces, or null
drop    large_binary    keys that leave that shard, pickled; null where there are none
item    large_binary    result of the stage before, pickled; null in padding rows and in pieces that only drop keys,
                        which pass every stage unchanged
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from pipeline.execution.packing import pack, unpack
from pipeline.planning.units import UNIT_ROWS, Piece

_ITEM = pa.field("item", pa.large_binary())


def block(piece: Piece) -> pa.Table:
    """The row of a piece, with its objects as the item, followed by its padding rows."""
    rows = 1 + piece.padding
    objects = pack(piece.objects) if piece.objects else None
    return pa.table(
        {
            "unit": pa.array([piece.unit] * rows, pa.int64()),
            "base": pa.array([piece.base] * rows, pa.string()),
            "drop": pa.array([pack(piece.drop) if piece.drop else None, *[None] * piece.padding], pa.large_binary()),
            "item": pa.array([objects, *[None] * piece.padding], pa.large_binary()),
        }
    )


def each(table: pa.Table, stage: Callable[[Any], object]) -> pa.Table:
    """The table with each item replaced by the stage's result; padding rows are unchanged."""
    cells = [pack(stage(unpack(cell))) if cell.is_valid else None for cell in table["item"]]
    return table.set_column(table.schema.get_field_index(_ITEM.name), _ITEM, pa.array(cells, pa.large_binary()))


def whole_unit(table: pa.Table) -> tuple[int, str | None, tuple[str, ...], list[Any]]:
    """A unit's number, its base, the keys to drop from that, and all its items, in order.

    Raises:
        RuntimeError: when the rows are not exactly one unit, which would mean that Ray did not keep
            their order.
    """
    units = {(row["unit"], row["base"]) for row in table.select(["unit", "base"]).to_pylist()}
    if len(units) != 1 or table.num_rows != UNIT_ROWS:
        raise RuntimeError(f"a writer got {table.num_rows} rows of units {units} instead of {UNIT_ROWS} rows of one")
    ((unit, base),) = units
    drop = tuple(key for cell in table["drop"] if cell.is_valid for key in unpack(cell))
    return unit, base, drop, [unpack(cell) for cell in table["item"] if cell.is_valid]
