"""What decode and verify share: shards in, small outcomes out, through Ray Data, with any Python object as cargo.

Rows leave a shard one cargo cell each, so Ray can split the output of a large shard into blocks and spread these over
actors; the order does not matter, as every outcome carries its key.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Dataset

from pipeline.execution.packing import pack, unpack
from pipeline.execution.ray_init import start_ray
from pipeline.execution.resources import Crew, gather

BLOCK_BYTES = 16 << 20
"""How much a stage gathers before the next one may begin with it."""

ROWS_AN_ACTOR = 16
"""An actor takes seconds to start, most of them torch: one for each so many rows at most."""

GPU_ROWS = 64
"""Most rows that an actor with a GPU is given at once; Ray insists on a number. Without GPUs it is given a block."""


def context() -> DataContext:
    """Ray Data's settings for such a flow: use as `with DataContext.current(context()):`."""
    made = DataContext.get_current().copy()
    made.target_max_block_size = BLOCK_BYTES
    made.enable_progress_bars = False
    made.print_on_execution_start = False
    made.execution_no_progress_timeout_s = -1  # no end to waiting for a machine
    return made


def crew(actors: tuple[int, int] | None, gpus_per_actor: float | None) -> Crew:
    """Who can work, on the Ray that is connected or on one that is started here.

    Raises:
        MaepressError: when the cluster has not the GPUs that an actor should hold.
    """
    if not ray.is_initialized():
        start_ray()
    return gather(
        ray.cluster_resources(),  # type: ignore[no-untyped-call]
        actors,
        gpus_per_actor,
    )


def _pool(workers: Crew, rows: int) -> ActorPoolStrategy:
    """The actors for so many rows."""
    useful = max(workers.least, min(workers.most, -(-rows // ROWS_AN_ACTOR)))
    return ActorPoolStrategy(min_size=workers.least, max_size=useful, initial_size=min(workers.start, useful))


def from_shards(paths: Sequence[str]) -> Dataset:
    """A dataset with one block a shard, whose column `shard` names it."""
    return ray.data.from_arrow([pa.table({"shard": [path]}) for path in paths])


def stage(dataset: Dataset, work: Any, *arguments: object, cpus: float) -> Dataset:
    """The dataset with a function's tables in place of its own: `work(table, *arguments)` returns or yields tables."""
    return dataset.map_batches(work, fn_args=arguments, batch_format="pyarrow", batch_size=None, num_cpus=cpus)


def actor_stage(dataset: Dataset, work: type, *arguments: object, workers: Crew, rows: int) -> Dataset:
    """The same with actors: `work(*arguments)` is made once in each, and called with tables.

    Args:
        dataset: what goes in.
        work: the actors' class.
        arguments: of its constructor.
        workers: how many actors may be, and what each holds.
        rows: how many rows there are to work on.
    """
    return dataset.map_batches(
        work,
        fn_constructor_args=arguments,
        compute=_pool(workers, rows),
        batch_format="pyarrow",
        batch_size=GPU_ROWS if workers.gpus else None,
        num_cpus=workers.encoder_cpus,
        num_gpus=workers.gpus,
    )


def cargo(*items: object) -> pa.Table:
    """Objects as rows."""
    return pa.table({"cargo": pa.array([pack(item) for item in items], pa.large_binary())})


def stream(dataset: Dataset) -> Iterator[Any]:
    """The objects in a dataset's rows, as they come."""
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for cell in batch["cargo"]:
            yield unpack(cell)
