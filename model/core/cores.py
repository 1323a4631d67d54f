"""How many cores this process may use, and threads that are no more than those. No torch.

A container's quota limits processor time, not the cores that are seen: with two of 64 cores, torch
would start 64 threads, which then wait most of the time for their turn.
"""

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux mounts control groups; in a container its own group is at the top."""


def cores(groups: Path = CGROUPS) -> int:
    """Number of cores that this process may use by its affinity and its container's quota, at least 1."""
    return max(1, math.ceil(min(_seen(), _quota(groups))))


def limit_threads(environment: MutableMapping[str, str], groups: Path = CGROUPS) -> None:
    """Set what OpenMP's threads, which torch uses, read when torch is loaded; a variable that is set already stays.

    They spin for milliseconds after each operator by default: on a machine with other work that
    takes the cores from those who work.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if cores(groups) < _seen():
        environment.setdefault("OMP_NUM_THREADS", str(cores(groups)))


def _seen() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota(groups: Path) -> float:
    """Cores' worth of time that a container gets, by version 2 or 1 of control groups; infinite without a quota."""
    try:
        if (groups / "cpu.max").exists():
            quota, period = (groups / "cpu.max").read_text().split()
        else:
            quota, period = ((groups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):  # no control groups, or "max"
        return math.inf
