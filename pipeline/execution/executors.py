"""Where a job's work runs: on Ray, or in this process when there is little of it.

Starting Ray takes some ten seconds, so a job that takes less runs in this process, on a thread per
core: the same stages, sandbox, units, receipts and commits. Nothing of Ray is imported for it.
"""

import os
import sys
from typing import Literal

Executor = Literal["auto", "local", "ray"]
DESCRIPTION = "where the work runs: ray, local (this process), or auto: local for small jobs without a cluster"
"""Help text of the setting `executor`."""

SMALL_BYTES = 64 << 20
"""Bytes of source up to which a job is small: about a minute's work for two cores."""
SMALL_OBJECTS = 1000
"""Number of objects up to which a job is small."""


def runs_here(executor: Executor, *, objects: int, source_bytes: float, actors: str, gpus: float | None) -> bool:
    """Whether a job's work runs in this process.

    With `auto` it does if it is small, no cluster is addressed or connected, and neither actors nor
    GPUs are asked for.

    Args:
        executor: the setting.
        objects: number of objects to work on.
        source_bytes: bytes of their sources, or as many as would take as long.
        actors: the setting `actors`, empty by default.
        gpus: the setting `gpus_per_actor`, None by default.
    """
    if executor != "auto":
        return executor == "local"
    if actors or gpus is not None or os.environ.get("RAY_ADDRESS") or ray_is_connected():
        return False
    return objects <= SMALL_OBJECTS and source_bytes <= SMALL_BYTES


def ray_is_connected() -> bool:
    """Whether this process has connected to Ray; does not import it."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())
