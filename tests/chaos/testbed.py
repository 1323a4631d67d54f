"""The testbed: an S3 server behind a proxy, and a Ray cluster of several nodes, on this machine.

    head (no cores: the driver's node)    node (1 core)    node (1 core)
                 +------------------------+---------------+
                        proxy (its address never changes)
                                  |
                         SeaweedFS (may be killed)

Only processes started here are ever killed.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from jobs.demo.s3_server import S3Server, s3_server, variables_set
from tests.proxy import Proxy

REPOSITORY = Path(__file__).parents[2]
STORE_BYTES = 128 << 20
START_ATTEMPTS = 5
_PATIENCE = {"idle_worker_killing_time_threshold_ms": 60_000}


@dataclass
class ChaosEnvironment:
    """The servers and nodes, with methods to kill and restart them.

    Attributes:
        folder: for all files.
        server: the S3 server; a new one after `restart_server`.
        proxy: the address that jobs and workers use for the server.
        environment: variables for jobs.
    """

    folder: Path
    server: S3Server
    proxy: Proxy
    environment: dict[str, str]
    _cluster: Cluster
    _servers: ExitStack

    def start(self, job: str, *arguments: str, log: Path) -> "subprocess.Popen[bytes]":
        """Start `maepress JOB ...` on the cluster."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "jobs", job, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env=os.environ | self.environment,
                start_new_session=True,
            )

    def workers(self, what: str) -> list[int]:
        """Ray's worker processes on nodes with cores whose title begins with `ray::` and `what`."""
        raylets = [_raylet(node) for node in self._cluster.worker_nodes]
        titles = {process: title(process) for raylet in raylets for process in children(raylet)}
        # A node's agents are no workers; the node ends with them.
        return [p for p, words in titles.items() if words.startswith(f"ray::{what}") and not words.endswith("Agent")]

    def kill_node(self, which: int) -> int:
        """Kill all processes of one node with cores, and add another node; returns their number."""
        node = sorted(self._cluster.worker_nodes, key=_raylet)[which % len(self._cluster.worker_nodes)]
        family = [_raylet(node)]
        for process in family:
            family += children(process)
        for process in family:
            kill(process)
        self._cluster.remove_node(node, allow_graceful=False)
        _add_node(self._cluster, num_cpus=1)
        return len(family)

    def kill_server(self) -> None:
        """Kill the S3 server; requests fail until `restart_server`."""
        kill(self.server.process)

    def restart_server(self) -> None:
        """Start another server with the same data at the same address."""
        self._servers.close()
        self.server = self._servers.enter_context(s3_server(self.server.folder, self.server.ports))


@contextmanager
def testbed() -> Iterator[ChaosEnvironment]:
    """Set up the testbed, and take it down at the end."""
    # Not below pytest's folder: the path of a Unix socket has 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        servers = stack.enter_context(ExitStack())
        server = servers.enter_context(s3_server(folder / "s3"))
        stack.enter_context(server.environment())
        proxy = stack.enter_context(Proxy(server.endpoint))
        variables = {
            "AWS_ENDPOINT_URL": proxy.endpoint,
            "RAY_TMPDIR": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(REPOSITORY),
        }
        with variables_set(variables):  # nodes and workers inherit the environment of this moment
            cluster = Cluster()
            stack.callback(cluster.shutdown)
            # By default Ray ends workers that are idle for a second; here starting one takes
            # longer.
            _add_node(cluster, num_cpus=0, include_dashboard=False, _system_config=_PATIENCE)
            for _ in range(2):
                _add_node(cluster, num_cpus=1)
        jobs = server.variables() | variables | {"RAY_ADDRESS": cluster.address}
        yield ChaosEnvironment(folder, server, proxy, jobs, cluster, servers)


def _add_node(cluster: Cluster, **options: Any) -> None:
    """Add a node; try again when it exceeds the 30 seconds that Ray allows for its start."""
    before = set(children(os.getpid()))
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            cluster.add_node(object_store_memory=STORE_BYTES, **options)
            return
        except Exception as e:  # Ray raises no narrower class here
            for process in set(children(os.getpid())) - before:  # Ray leaves what it has started
                kill(process)
            if "timed out" not in str(e).lower() or attempt == START_ATTEMPTS:
                raise


def kill(process: int) -> None:
    """Send SIGKILL to a process, which may have ended already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def children(process: int) -> list[int]:
    """Ids of the living child processes of a process."""
    found: list[int] = []
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, thread.read_text().split())
    return found


def title(process: int) -> str:
    """The first word of a process's command line; empty when it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)
