"""How many cores this process may use, and threads that are no more than those. No torch.

The quota of a container or of a service limits processor time, not the cores that are seen: with
two of 64 cores, torch would start 64 threads, which then wait most of the time for their turn.
"""

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux mounts control groups; in a container its own group is at the top."""
OWN = Path("/proc/self/cgroup")
"""Names this process's group, by version 2 in a line `0::/system.slice/nightly.service`."""


def cores(groups: Path = CGROUPS, own: Path = OWN) -> int:
    """Number of cores that this process may use by its affinity and the quotas of its groups, at least 1."""
    quotas = [_quota(folder) for folder in (groups, *_folders(groups, own))]
    return max(1, math.ceil(min(_seen(), *quotas)))


def limit_threads(environment: MutableMapping[str, str], groups: Path = CGROUPS) -> None:
    """Set what OpenMP's threads, which torch uses, read when torch is loaded; a variable that is set already stays.

    They spin for milliseconds after each operator by default: on a machine with other work that
    takes the cores from those who work.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if (count := cores(groups)) < _seen():
        environment.setdefault("OMP_NUM_THREADS", str(count))


def _seen() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _folders(groups: Path, own: Path) -> list[Path]:
    """Folders of the group of this process and of those around it, by version 2 of control groups."""
    try:
        names = [line[len("0::/") :] for line in own.read_text().splitlines() if line.startswith("0::/")]
    except OSError:
        return []
    group = Path(*names)
    return [groups / part for part in (group, *group.parents)]


def _quota(folder: Path) -> float:
    """Cores' worth of time that a group gets, by version 2 or 1 of control groups; infinite without a quota."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):  # no control groups, or "max"
        return math.inf
