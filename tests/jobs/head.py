"""A real Ray head with its job server, on loopback ports of its own, in a process group that ends with the test."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

READY_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Head:
    """A running head: the job server's URL, the address that `ray.init` takes, and where its metrics are."""

    job_server: str
    address: str
    metrics: str


@contextlib.contextmanager
def ray_head(folder: Path) -> Iterator[Head]:
    """Run `ray start --head` until the `with` block ends.

    Args:
        folder: for its files; short, as the paths of Ray's sockets are limited to 107 characters.

    Raises:
        RuntimeError: when it is not up in time; the message ends with its log.
    """
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
    environment |= {"PATH": f"{scripts}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    environment["RAY_DASHBOARD_STARTUP_TIMEOUT_S"] = (
        "170"  # a busy machine takes longer than the minute that Ray gives it
    )
    log = folder / "head.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [scripts / "ray", "start", "--head", "--block", *(f"--{name}={value}" for name, value in options.items())],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        head = Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", f"127.0.0.1:{metrics}")
        _wait(f"{head.job_server}/api/jobs/", process, log)
        yield head
    finally:
        process.terminate()  # `ray start --block` ends what it started, and only that
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the job server answers: it is up some seconds after the rest."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(url, timeout=10).close()
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Ray did not start; its log ends with:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.5)
