"""A Ray that maepress starts on this machine listens on the loopback address alone."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
import psutil, ray
from jobs.framework.ray_session import ray_session
from pipeline.execution.ray_init import require_ray

with ray_session():
    require_ray()
    assert ray.get(ray.remote(num_cpus=0.1)(lambda: 1).remote()) == 1
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        try:
            for socket in process.net_connections(kind="inet"):
                if socket.status == psutil.CONN_LISTEN:
                    print(process.name(), socket.laddr.ip)
        except psutil.NoSuchProcess:
            pass
print("variable", os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"))
"""


@pytest.mark.slow
def test_a_local_ray_listens_on_the_loopback_address_alone() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    *listening, variable = [line.rpartition(" ")[::2] for line in done.stdout.splitlines()]
    assert variable == ("variable", "None"), "only Ray's own processes inherit it"
    assert {"gcs_server", "raylet"} <= {name for name, _ in listening}
    assert {address.removeprefix("::ffff:") for _, address in listening} == {"127.0.0.1"}
