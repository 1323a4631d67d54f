"""Operations on tables sorted by a string column `key`, shared by merging, planning and writing."""

import bisect
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute

from model.core.errors import MaepressError

pc: Any = pyarrow.compute  # its stubs refuse most mixes of columns and plain values

Column: TypeAlias = "pa.ChunkedArray[Any]"


def in_order(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The table sorted by some columns, with one chunk per column; cheap if sorted already."""
    table = table.combine_chunks()
    if not is_rising(table[names[0]], strictly=len(names) > 1):
        table = table.take(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in names])).combine_chunks()
    return table


def is_rising(keys: Column, *, strictly: bool) -> bool:
    """Whether each value is above (or, unless `strictly`, equal to) the one before.

    Strings compare as UTF-8 bytes.
    """
    compare = pc.greater if strictly else pc.greater_equal
    return bool(pc.all(compare(keys[1:], keys[:-1]), min_count=0).as_py())


def texts(column: Column) -> list[str]:
    """The values of a column without nulls, such as `key`."""
    return [str(value) for value in column.to_pylist()]


def position(keys: Column, key: str, *, after: bool = False) -> int:
    """The index of a key in a sorted column, or where it would be inserted.

    With `after`, the index after an equal key.
    """
    values: Any = keys
    find = bisect.bisect_right if after else bisect.bisect_left
    return find(range(len(keys)), key, key=lambda i: str(values[i].as_py()))


def side_by_side(*streams: Iterator[pa.Table], nothing: pa.Table) -> Iterator[list[pa.Table]]:
    """Cut sorted streams at the same keys: yields one table per stream for each range of keys.

    Each range ends at the smallest of the last keys read from the streams, because up to there all
    of them are known.

    Args:
        streams: sorted tables, none of them empty, that follow each other in key order.
        nothing: an empty table with the schema of streams that have no tables.

    Raises:
        MaepressError: when a stream is not sorted, which would otherwise end in a loop without end.
    """
    heads = [next(stream, None) for stream in streams]
    empty = [nothing if head is None else head.schema.empty_table() for head in heads]
    while any(head is not None for head in heads):
        bound = min(str(head["key"][-1].as_py()) for head in heads if head is not None)
        parts = list(empty)
        for i, head in enumerate(heads):
            if head is not None:
                at = position(head["key"], bound, after=True)
                parts[i] = head.slice(0, at)
                heads[i] = head.slice(at) if at < head.num_rows else next(streams[i], None)
        if not any(part.num_rows for part in parts):
            raise MaepressError(f"rows are not in key order near {bound!r}: they cannot be merged")
        yield parts
