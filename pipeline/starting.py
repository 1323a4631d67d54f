"""Starting Ray on this machine, with room for as many workers as the stages' small claims let run at once."""

import os
from typing import Any

import ray

SOFT_LIMIT = "RAY_num_workers_soft_limit"
WORKERS_A_CORE = 8
"""Encoders and tasks that claim a tenth of a core each are some four a core; Ray's own helpers come on top."""


def start_ray(**options: Any) -> None:
    """Start Ray.

    Ray ends idle workers beyond one a core after a second. Tasks that claim a tenth of a core need more of them, and
    would start new ones, which import torch, every few seconds: on two cores that took a third of an encode's time.
    Whoever sets the variable is obeyed. On a cluster it belongs before `ray start`, as in `cluster.yaml`.

    Args:
        options: of `ray.init`.
    """
    os.environ.setdefault(SOFT_LIMIT, str(WORKERS_A_CORE * (os.cpu_count() or 1)))
    ray.init(**options)
