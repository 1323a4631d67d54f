"""A real Ray head with its job server, on loopback ports of its own, in a process group that ends with the test."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 240.0
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Head:
    """A running head: the job server's URL, the address that `ray.init` takes, where its metrics are, and its token."""

    job_server: str
    address: str
    metrics: str
    token: str

    def variables(self) -> dict[str, str]:
        """The environment variables with which a process may connect."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}


@contextlib.contextmanager
def ray_head(folder: Path) -> Iterator[Head]:
    """Run `ray start --head` until the `with` block ends.

    Args:
        folder: for its files; short, as the paths of Ray's sockets are limited to 107 characters.

    Raises:
        RuntimeError: when it is not up in time; the message ends with its log.
    """
    for attempt in range(ATTEMPTS):
        head, process, log = _start(folder / str(attempt))
        try:
            if not _comes_up(head, process, log):
                continue
            yield head
            return
        finally:
            process.terminate()  # `ray start --block` ends what it started, and only that
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    raise RuntimeError(f"Ray did not start; its log ends with:\n{log.read_text(errors='replace')[-2000:]}")


def _start(folder: Path) -> tuple[Head, subprocess.Popen[bytes], Path]:
    """Begin to start a head; returns it, its process and its log."""
    folder.mkdir()
    gcs, dashboard, metrics, client, agent, runtime = _free_ports(6)
    options = {
        "port": gcs,
        "node-ip-address": "127.0.0.1",
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": agent,
        "runtime-env-agent-port": runtime,
        "metrics-export-port": metrics,
        "ray-client-server-port": client,
        "num-cpus": 2,
        "object-store-memory": 200_000_000,
        "temp-dir": folder,
        "include-dashboard": "true",
    }
    scripts = Path(sys.executable).parent
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    # As on a cluster's machines, `python` is one that has maepress.
    environment |= {"PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    # A busy machine takes longer than the minute that Ray gives its dashboard.
    environment |= {"RAY_DASHBOARD_STARTUP_TIMEOUT_S": "170", "RAY_USAGE_STATS_ENABLED": "0"}
    head = Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", f"127.0.0.1:{metrics}", secrets.token_hex(32))
    log = folder / "head.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [scripts / "ray", "start", "--head", "--block", *(f"--{name}={value}" for name, value in options.items())],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment | head.variables(),
            start_new_session=True,
        )
    return head, process, log


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _comes_up(head: Head, process: subprocess.Popen[bytes], log: Path) -> bool:
    """Wait until the job server answers and the head is registered, without which it takes no job.

    False when Ray gave up: it waits 30 seconds for its own parts, which a busy machine may exceed.
    """
    request = urllib.request.Request(f"{head.job_server}/api/jobs/", headers={"Authorization": f"Bearer {head.token}"})
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # URLError is one
            urllib.request.urlopen(request, timeout=10).close()
            if b"will now block" in log.read_bytes():
                return True
        time.sleep(0.5)
    return False
