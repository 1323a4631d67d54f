"""Starting Ray on this machine, with as many idle worker processes as the stages' tasks can use at once."""

import os
from typing import Any

import ray

SOFT_LIMIT = "RAY_num_workers_soft_limit"
WORKERS_PER_CORE = 4
"""One encoder, and tasks that claim a tenth of a core each. An idle worker costs 0.9 % of a core."""


def start_ray(**options: Any) -> None:
    """Start Ray.

    By default Ray ends idle workers beyond one per core after a second. Tasks that claim a tenth of a core need more
    workers than that. Starting new ones every few seconds, at two to three CPU seconds each, took a third of an
    encode's time. If the variable is set already, it stays. On a cluster, set it before `ray start`, as in
    `cluster.yaml`.

    Args:
        options: arguments of `ray.init`.
    """
    os.environ.setdefault(SOFT_LIMIT, str(WORKERS_PER_CORE * (os.cpu_count() or 1)))
    ray.init(**options)
