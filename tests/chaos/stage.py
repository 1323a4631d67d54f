"""Where it happens: a real S3 server behind a proxy, and a Ray cluster of several nodes, all on this machine.

    head (no cores: the driver's node)    node (1 core)    node (1 core)
                 +------------------------+---------------+
                        proxy (its address never changes)
                                  |
                         SeaweedFS (may be killed)

Only processes that were started here are ever killed.
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
class Stage:
    """Everything that can be killed, and how.

    Attributes:
        folder: for whatever is written.
        server: the S3 server; another one after `restart_server`.
        proxy: what jobs and workers take for the server.
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
        """Ray's worker processes on the nodes with cores whose title begins so (Ray writes there what they run)."""
        raylets = [_raylet(node) for node in self._cluster.worker_nodes]
        titles = {process: title(process) for raylet in raylets for process in children(raylet)}
        # A node's agents are no workers; with them dies the node.
        return [p for p, words in titles.items() if words.startswith(f"ray::{what}") and not words.endswith("Agent")]

    def kill_node(self, which: int) -> int:
        """Kill all processes of one of the nodes with cores at once, and let another one join; returns their number."""
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
        """Another server with the same data at the same address."""
        self._servers.close()
        self.server = self._servers.enter_context(s3_server(self.server.folder, self.server.ports))


@contextmanager
def stage() -> Iterator[Stage]:
    """Set everything up; take it down at the end."""
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
        with variables_set(variables):  # nodes and workers have the environment of this moment
            cluster = Cluster()
            stack.callback(cluster.shutdown)
            # Ray ends workers beyond the number of cores that were idle for a second; here starting one takes longer.
            _add_node(cluster, num_cpus=0, include_dashboard=False, _system_config=_PATIENCE)
            for _ in range(2):
                _add_node(cluster, num_cpus=1)
        jobs = server.variables() | variables | {"RAY_ADDRESS": cluster.address}
        yield Stage(folder, server, proxy, jobs, cluster, servers)


def _add_node(cluster: Cluster, **options: object) -> None:
    """Ray gives a node 30 seconds to start, which a busy machine may exceed: then again."""
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
    """Without a warning; it may have ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def children(process: int) -> list[int]:
    """Ids of the processes that this one has started and that are there."""
    found = []
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, thread.read_text().split())
    return found


def title(process: int) -> str:
    """A process's command line; empty when it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)
