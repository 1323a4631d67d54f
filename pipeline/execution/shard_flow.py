"""Work on all shards of an archive, on Ray or in this process.

    shards --> read rows --> process them with models --> finish --> results

The order does not matter, as every result carries its key. `pipeline.execution.ray_flow` and
`pipeline.execution.local_flow` run the same functions.
"""

from collections.abc import Generator, Sequence
from typing import Any

from pipeline.execution.executors import Executor, runs_here
from pipeline.execution.shard_work import ShardWork


def run_shards(
    paths: Sequence[str], work: ShardWork, executor: Executor, actors: str, gpus_per_actor: float | None
) -> Generator[Any, None, None]:
    """Do the work, and yield the items as they become available.

    A caller that may end early, by an error for example, closes the generator, which ends the work.

    Args:
        paths: of the shards; or what `work.read` takes instead of a path, as text.
        work: what is done with each.
        executor: where it runs.
        actors: smallest and largest number of actors on Ray, as MIN:MAX; empty for as many as fit.
        gpus_per_actor: GPUs per actor; None for 1 if the cluster has GPUs, otherwise 0.
    """
    if runs_here(executor, objects=work.rows, source_bytes=work.source_bytes, actors=actors, gpus=gpus_per_actor):
        from pipeline.execution import local_flow

        return local_flow.run(paths, work)
    from pipeline.execution import ray_flow  # imports Ray, which takes a second

    return ray_flow.run(paths, work, actors, gpus_per_actor)
