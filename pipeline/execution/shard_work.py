"""What a job does with the shards of an archive, whatever runs it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.execution.packing import pack

Tables = Iterator[pa.Table] | pa.Table


@dataclass(frozen=True, slots=True)
class ShardWork:
    """What is done with each shard. Tables between the steps have one column, `item`: see `item_rows`.

    Attributes:
        read: from a table whose column `shard` holds paths to tables of items.
        worker: class of the step with models; called with tables of items.
        arguments: of its constructor; the number of torch threads follows them.
        finish: from tables of items to tables of items; None: `worker` gives the results.
        rows: number of rows that the worker decodes.
        source_bytes: bytes of source whose encoding would take as long, to choose the executor.
        ordered: whether the items have to come in the same order in each run.
    """

    read: Callable[[pa.Table], Tables]
    worker: type
    arguments: tuple[Any, ...]
    finish: Callable[[pa.Table], Tables] | None
    rows: int
    source_bytes: float
    ordered: bool = False


def item_rows(*items: object) -> pa.Table:
    """Objects as the rows of a table with one column, `item`."""
    return pa.table({"item": pa.array([pack(item) for item in items], pa.large_binary())})


def tables_of(result: Tables) -> Iterator[pa.Table]:
    """The tables that a step returns or yields."""
    return iter([result]) if isinstance(result, pa.Table) else result
