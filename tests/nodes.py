"""A Ray cluster of several nodes on this machine, which may claim GPUs that are not there.

The resources of a node only control where Ray places work. A node may claim any number of cores and GPUs; its tasks
run on the machine's cores, which all nodes share.
"""

import contextlib
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray._private import services
from ray.cluster_utils import Cluster

from jobs.demo.s3_server import variables_set

REPOSITORY = Path(__file__).parents[1]
STORE_BYTES = 128 << 20
START_ATTEMPTS = 20
START_SECONDS = 200
_SETTINGS = {
    # By default Ray ends idle workers beyond one per core after a second; starting a worker here takes longer.
    "idle_worker_killing_time_threshold_ms": 60_000,
    # The death of a node is noticed after seconds instead of half a minute.
    "health_check_initial_delay_ms": 5_000,
    "health_check_period_ms": 1_000,
    "health_check_failure_threshold": 20,
}


class Nodes:
    """The nodes of a cluster whose head has no resources.

    Attributes:
        address: address of the cluster, for `ray.init`.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        _start(cluster, num_cpus=0, include_dashboard=False, _system_config=_SETTINGS)
        self.address = str(cluster.address)

    def add(self, cpus: int = 0, gpus: int = 0) -> Any:
        """Start a node and return it. Its attribute `node_id` is the id that tasks see."""
        return _start(self._cluster, num_cpus=cpus, num_gpus=gpus)

    def kill(self, node: Any) -> None:
        """Kill all processes of a node at once, as when a spot machine is reclaimed."""
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        for process in [raylet, *raylet.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._cluster.remove_node(node, allow_graceful=False)

    def remove_all(self) -> None:
        """Remove all nodes except the head."""
        for node in list(self._cluster.worker_nodes):
            self._cluster.remove_node(node)


@contextlib.contextmanager
def nodes(**variables: str) -> Iterator[Nodes]:
    """Start a head node and connect this process to it; stop the cluster after the `with` block.

    Args:
        variables: environment variables of all workers.
    """
    if ray.is_initialized():  # left by an earlier test
        ray.shutdown()
    # Not below pytest's folder: the path of a Unix socket has at most 107 bytes. RAY_TMPDIR hides the file by
    # which `ray.init()` finds a running cluster from other processes on this machine.
    folder = Path(tempfile.mkdtemp(prefix="nodes-"))
    own = {"RAY_TMPDIR": str(folder), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(variables_set(own | {"XDG_CACHE_HOME": str(folder / "cache")} | variables))
        cluster = Cluster()
        stack.callback(cluster.shutdown)
        made = Nodes(cluster)
        stack.callback(ray.shutdown)
        ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
        yield made


def _start(cluster: Cluster, **options: object) -> Any:
    """Start a node, and try again if it dies while it starts.

    A raylet dies when its agents need more than 15 seconds for their imports, as on a busy machine. Ray itself waits
    30 seconds for a node, even if it has died.
    """
    before = set(psutil.Process().children(recursive=True))
    get_node = services.get_node

    def patient(*where: Any) -> Any:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return get_node(*where)
            except RuntimeError:
                if time.monotonic() > deadline or _has_died("raylet", before):
                    raise _DiedEarly from None
                time.sleep(0.5)

    for attempt in range(START_ATTEMPTS):
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(services, "get_node", patient)
                node = cluster.add_node(wait=False, object_store_memory=STORE_BYTES, **options)
            services.wait_for_node(node.gcs_address, node.plasma_store_socket_name, START_SECONDS)
            return node
        except _DiedEarly:
            for child in set(psutil.Process().children(recursive=True)) - before:  # Ray does not end them
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
                    child.wait()
            if attempt == START_ATTEMPTS - 1:
                raise
    raise AssertionError  # not reached


class _DiedEarly(Exception):
    """A raylet died before its node was ready."""


def _has_died(name: str, before: set[psutil.Process]) -> bool:
    fresh = [child for child in psutil.Process().children() if child not in before]
    return any(child.name() == name and child.status() == psutil.STATUS_ZOMBIE for child in fresh)
