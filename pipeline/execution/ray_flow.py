"""Work on shards on Ray Data: of decode, verify and the training data set.

Each row of a shard becomes one cell of its own, so Ray can split the output of a large shard into
blocks and spread these over actors.
"""

from collections.abc import Generator, Sequence
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Dataset

from pipeline.execution.local_resources import GPUS_PER_ACTOR, require_gpus
from pipeline.execution.packing import unpack
from pipeline.execution.ray_init import require_ray
from pipeline.execution.resources import WorkerResources, plan_resources
from pipeline.execution.setting_types import parse_range
from pipeline.execution.shard_work import ShardWork

BLOCK_BYTES = 16 << 20
"""Output of a stage after which the next stage may begin with it."""

ROWS_PER_ACTOR = 16
"""Rows that justify one more actor: an actor takes seconds to start, mostly for importing torch."""

GPU_ROWS = 64
"""Rows per call of an actor with a GPU, at most: Ray requires a number. An actor without a GPU gets
a whole block."""


def context() -> DataContext:
    """Ray Data's settings for such a flow, for use as `with DataContext.current(context()):`."""
    made = DataContext.get_current().copy()
    made.target_max_block_size = BLOCK_BYTES
    made.enable_progress_bars = False
    made.print_on_execution_start = False
    made.raise_original_map_exception = True  # else the driver gets a wrapper without the error's class
    made.execution_no_progress_timeout_s = -1  # wait for a machine without a time limit
    return made


def worker_resources(actors: tuple[int, int] | None, gpus_per_actor: float | None) -> WorkerResources:
    """Actors and claims for the connected cluster; starts Ray on this machine if none is connected.

    Args:
        actors: smallest and largest number of actors; None for as many as fit.
        gpus_per_actor: GPUs per actor; None for 1 if the cluster has GPUs, otherwise 0.

    Raises:
        MaepressError: when the cluster has fewer GPUs than one actor needs.
    """
    if not ray.is_initialized():
        require_gpus(gpus_per_actor, GPUS_PER_ACTOR)
        require_ray()
    return plan_resources(
        ray.cluster_resources(),  # type: ignore[no-untyped-call]
        actors,
        gpus_per_actor,
    )


def _pool(workers: WorkerResources, rows: int) -> ActorPoolStrategy:
    """The pool of actors for this number of rows."""
    useful = max(workers.least, min(workers.most, -(-rows // ROWS_PER_ACTOR)))
    return ActorPoolStrategy(min_size=workers.least, max_size=useful, initial_size=min(workers.start, useful))


def run(paths: Sequence[str], work: ShardWork, actors: str, gpus_per_actor: float | None) -> Generator[Any, None, None]:
    """Do the work on all shards, and yield the items; see `shard_flow.run_shards`."""
    workers = worker_resources(parse_range(actors), gpus_per_actor)
    settings = context()
    settings.execution_options.preserve_order = work.ordered
    with DataContext.current(settings):
        shards = ray.data.from_arrow([pa.table({"shard": [path]}) for path in paths])  # one block each
        rows = stage(shards, work.read, cpus=workers.task_cpus)
        done = actor_stage(rows, work.worker, *work.arguments, workers.threads, workers=workers, rows=work.rows)
        if work.finish is not None:
            done = stage(done, work.finish, cpus=workers.task_cpus)
    yield from items(done)


def stage(dataset: Dataset, work: Any, *arguments: object, cpus: float) -> Dataset:
    """The dataset mapped by a function: `work(table, *arguments)` returns or yields tables."""
    return dataset.map_batches(work, fn_args=arguments, batch_format="pyarrow", batch_size=None, num_cpus=cpus)


def actor_stage(dataset: Dataset, work: type, *arguments: object, workers: WorkerResources, rows: int) -> Dataset:
    """The dataset mapped by actors.

    Each actor constructs `work(*arguments)` once and calls it with tables.

    Args:
        dataset: the input.
        work: a class whose instances are callable.
        arguments: of its constructor.
        workers: limits on the number of actors, and the resources of each.
        rows: number of rows in the dataset.
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


def items(dataset: Dataset) -> Generator[Any, None, None]:
    """The objects in a dataset's rows, as they become available.

    A caller that may end early, by an error for example, closes the generator, which ends the work.
    An error keeps a suspended generator alive: once Ray had ended, Ray Data would wait for its
    workers without an end.
    """
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for cell in batch["item"]:
            yield unpack(cell)
