"""What a job asks of Ray, compared with this machine before Ray starts, where no cluster is addressed.

Ray takes ten seconds to start, and then waits without end for cores and GPUs that the machine does not have.
"""

import os
from pathlib import Path

from model.core.cores import cores
from model.core.errors import MaepressError
from pipeline.execution.executors import ray_is_connected

GPUS_PER_ACTOR = "--gpus-per-actor"
_CLUSTER = "or set RAY_ADDRESS to a cluster that has them"
_DEVICES = ("nvidia[0-9]*", "dri/renderD*", "accel/accel*", "kfd", "dxg")
"""Files in /dev of which there is at least one per GPU: of NVIDIA, AMD, Intel, and of the Windows subsystem."""


def require_gpus(each: float | None, setting: str, *, users: int = 1, dev: Path = Path("/dev")) -> None:
    """Refuse more GPUs than this machine has. Whether a device is a GPU that works, only Ray and torch find out.

    Args:
        each: GPUs of each worker; None for what there is.
        setting: the setting that asks for them.
        users: number of workers that need them at the same time.
        dev: folder of the devices.

    Raises:
        MaepressError: when no cluster is addressed, and this machine has fewer.
    """
    if not each or _elsewhere() or (dev / "dxg").exists():
        return
    most = max(len(list(dev.glob(pattern))) for pattern in _DEVICES)
    if each * users > most:
        asked = f"{each:g} GPUs" if users == 1 else f"{users} x {each:g} GPUs"
        raise MaepressError(
            f"{setting} asks for {asked}, this machine has {most}: give {setting} 0 for CPUs, {_CLUSTER}"
        )


def require_cores(count: int, setting: str) -> None:
    """Refuse more workers with a core each than this machine has cores.

    Raises:
        MaepressError: when no cluster is addressed, and this machine has fewer.
    """
    most = cores()
    if count > most and not _elsewhere():
        raise MaepressError(
            f"{setting} {count} needs as many cores, this machine has {most}: give {setting} {most}, {_CLUSTER}"
        )


def _elsewhere() -> bool:
    return bool(os.environ.get("RAY_ADDRESS")) or ray_is_connected()
