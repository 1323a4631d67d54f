"""Starting Ray on this machine, with room for as many workers as the stages' small claims let run at once."""

import os
from typing import Any

import ray

SOFT_LIMIT = "RAY_num_workers_soft_limit"
WORKERS_A_CORE = 4
"""An encoder and the tasks that fit beside it, a tenth of a core each; an idle worker costs 0.9 % of a core."""


def start_ray(**options: Any) -> None:
    """Start Ray.

    Ray ends idle workers beyond one a core after a second. Tasks that claim a tenth of a core need more of them, and
    would start new ones every few seconds, at two to three seconds of a core each: a third of an encode's time.
    Whoever sets the variable is obeyed. On a cluster it belongs before `ray start`, as in `cluster.yaml`.

    Args:
        options: of `ray.init`.
    """
    os.environ.setdefault(SOFT_LIMIT, str(WORKERS_A_CORE * (os.cpu_count() or 1)))
    ray.init(**options)
