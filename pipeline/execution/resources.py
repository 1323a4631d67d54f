"""Who works on what: how many encoders, and which share of a core each stage claims.

Claims steer Ray's scheduling; they limit nothing. All stages must be able to run at the same time on the smallest
machine, or the last one waits until the first has no work left and nothing is committed before the end. So on CPUs an
encoder claims most of a core, not all of it, and the short tasks around it share the rest; the operating system does
the fine division.

An encoder with a GPU claims no core at all, so that a machine with GPUs can offer none: then every task, which claims
some of one, runs elsewhere, and no task can sit where an encoder is waiting for room. A machine that offers both is
used for both.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from model.core.errors import MaepressError

_CPU_ENCODER, _CPU_TASK, _CPU_WRITER = 0.7, 0.1, 0.15
_GPU_ENCODER, _GPU_TASK, _GPU_WRITER = 0.0, 0.5, 0.25
_GPU_CALLS = 2
"""So that one piece's copies and Python run while the GPU computes the other's."""


@dataclass(frozen=True, slots=True)
class Crew:
    """The work force of one encode.

    Attributes:
        least: encoders at least.
        most: encoders at most; as many as the cluster can hold now are started at once.
        start: encoders to start with.
        gpus: GPUs that each holds.
        threads: torch threads of each.
        calls: pieces that each works on at once.
        encoder_cpus: share of a core that an encoder claims.
        task_cpus: share of a core that a task of the other stages claims.
        writer_cpus: the same of a writing task. It differs from `task_cpus`, because Ray joins neighbouring stages of
            equal claims into one task: all of a unit would then be entropy-coded by the one task that writes it.
    """

    least: int
    most: int
    start: int
    gpus: float
    threads: int
    calls: int
    encoder_cpus: float
    task_cpus: float
    writer_cpus: float


def gather(resources: Mapping[str, float], actors: tuple[int, int] | None, gpus_per_actor: float | None) -> Crew:
    """The crew for a cluster.

    Args:
        resources: what the cluster has, as `ray.cluster_resources()` says.
        actors: least and most encoders, or None: as many as fit.
        gpus_per_actor: GPUs of each; None: 1 where there are GPUs, else 0.

    Raises:
        MaepressError: when encoders should hold GPUs, the cluster has too few for one, and it was not said how many
            encoders there shall be. Where that was said, they wait: an autoscaler adds GPUs when they are asked for.
    """
    cpus, gpus_here = resources.get("CPU", 1.0), resources.get("GPU", 0.0)
    gpus = float(gpus_here > 0) if gpus_per_actor is None else gpus_per_actor
    if gpus > gpus_here and actors is None:
        raise MaepressError(
            f"an encoder should hold {gpus:g} GPUs, the cluster has {gpus_here:g}: give --gpus-per-actor 0 for CPUs, "
            "or --actors MIN:MAX to wait for GPUs that the cluster will be given"
        )
    if gpus:
        fits = max(1, int(gpus_here / gpus))
        least, most = actors or (1, fits)
        return Crew(least, most, max(least, min(most, fits)), gpus, 1, _GPU_CALLS, _GPU_ENCODER, _GPU_TASK, _GPU_WRITER)
    fits = max(1, int(cpus))
    least, most = actors or (1, fits)
    start = max(least, min(most, fits))
    # What asks for more encoders than there are cores gets smaller shares, so that tasks still fit beside them.
    share = min(_CPU_ENCODER, _CPU_ENCODER * cpus / start)
    return Crew(least, most, start, 0.0, max(1, int(cpus // start)), 1, share, _CPU_TASK, _CPU_WRITER)
