"""Idle workers stay alive during a pause."""

import os
import time
from pathlib import Path

import pytest
import ray

WORKERS = 5
PAUSE = 2
"""Seconds; Ray ends workers beyond its limit once they have been idle for one. Nothing shows that it spared them."""


@ray.remote(num_cpus=0.1)
def met(folder: str) -> int:
    """This worker's process id, once WORKERS workers run at the same time."""
    (Path(folder) / str(os.getpid())).touch()
    while len(list(Path(folder).iterdir())) < WORKERS:
        time.sleep(0.1)
    return os.getpid()


@pytest.mark.timeout(180)
def test_workers_are_kept_while_they_are_idle(local_ray: None, tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    for folder in (first, again):
        folder.mkdir()
    before = ray.get([met.remote(str(first)) for _ in range(WORKERS)])
    assert len(set(before)) == WORKERS, "more than the two cores"
    time.sleep(PAUSE)
    after = ray.get([met.remote(str(again)) for _ in range(WORKERS)])
    assert set(after) == set(before), "none had to be started again"
