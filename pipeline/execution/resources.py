"""How many encoder actors run, and which share of a core each stage claims.

Claims guide Ray's scheduling; they do not limit use. All stages must be able to run at the same
time on the smallest machine. Otherwise the last stage waits until the first has no work left, and
nothing is committed before the end. So on CPUs an encoder claims most of a core, and the short
tasks around it share the rest; the operating system divides the actual time.

An encoder with a GPU claims no core, so a machine with GPUs may offer Ray no cores at all. Tasks,
which claim a part of a core, then run on other machines and never take the place of an encoder. A
machine that offers both GPUs and cores is used for both.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from model.core.errors import MaepressError

_CPU_ENCODER, _CPU_TASK, _CPU_WRITER = 0.7, 0.1, 0.15
_GPU_ENCODER, _GPU_TASK, _GPU_WRITER = 0.0, 0.5, 0.25
_GPU_CALLS = 2
"""Pieces at once per encoder with a GPU: copies and Python code of one overlap with the GPU's work
on the other."""


@dataclass(frozen=True, slots=True)
class WorkerResources:
    """Actors and claims of one job.

    Attributes:
        least: smallest number of encoders.
        most: largest number of encoders.
        start: encoders at the start: as many as the cluster has room for now, within these limits.
        gpus: GPUs per encoder; may be a fraction.
        threads: torch threads per encoder.
        calls: pieces that each encoder works on at once.
        encoder_cpus: cores that an encoder claims.
        task_cpus: cores that a task of another stage claims.
        writer_cpus: cores that a writing task claims. Differs from `task_cpus`, because Ray fuses
            neighbouring stages of equal claims into one task: the task that writes a unit would
            then do all of its entropy coding.
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


def plan_resources(
    resources: Mapping[str, float], actors: tuple[int, int] | None, gpus_per_actor: float | None
) -> WorkerResources:
    """Actors and claims for a cluster.

    Args:
        resources: of the cluster, as returned by `ray.cluster_resources()`.
        actors: smallest and largest number of encoders; None for as many as fit.
        gpus_per_actor: GPUs per encoder; None for 1 if the cluster has GPUs, otherwise 0.

    Raises:
        MaepressError: when the cluster has too few GPUs for one encoder and `actors` is None. With
            `actors` given, the encoders wait: an autoscaler adds GPUs on request.
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
        start = max(least, min(most, fits))
        return WorkerResources(least, most, start, gpus, 1, _GPU_CALLS, _GPU_ENCODER, _GPU_TASK, _GPU_WRITER)
    fits = max(1, int(cpus))
    least, most = actors or (1, fits)
    start = max(least, min(most, fits))
    # With more encoders than cores, each claims a smaller share, so that tasks still fit beside
    # them.
    share = min(_CPU_ENCODER, _CPU_ENCODER * cpus / start)
    return WorkerResources(least, most, start, 0.0, max(1, int(cpus // start)), 1, share, _CPU_TASK, _CPU_WRITER)
