"""Small jobs run in this process, others on Ray."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.execution import executors
from pipeline.execution.executors import SMALL_BYTES, SMALL_OBJECTS, runs_here
from tests.pipeline.sources import encoded, photo, put_all


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster is addressed, and none connected."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(executors, "ray_is_connected", lambda: False)


@pytest.mark.usefixtures("no_ray")
def test_a_small_job_runs_here_and_a_large_one_on_ray() -> None:
    small = {"objects": SMALL_OBJECTS, "source_bytes": SMALL_BYTES, "actors": "", "gpus": None}
    assert runs_here("auto", **small)  # type: ignore[arg-type]
    for larger in ({"objects": SMALL_OBJECTS + 1}, {"source_bytes": SMALL_BYTES + 1}, {"actors": "1:1"}, {"gpus": 0.0}):
        assert not runs_here("auto", **(small | larger))  # type: ignore[arg-type]
        assert runs_here("local", **(small | larger))  # type: ignore[arg-type]
    assert not runs_here("ray", **small)  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_ray")
def test_a_cluster_that_is_addressed_or_connected_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert not runs_here("auto", objects=1, source_bytes=1, actors="", gpus=None)
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setattr(executors, "ray_is_connected", lambda: True)
    assert not runs_here("auto", objects=1, source_bytes=1, actors="", gpus=None)


def test_small_jobs_never_import_ray(tmp_path: Path, tiny_model_folder: Path) -> None:
    put_all(str(tmp_path / "source"), {f"{i}.png": encoded(photo(i), "PNG") for i in range(3)})
    jobs = "\n".join(
        [
            "import sys",
            "from jobs.cli import main",
            f"assert main(['encode', 'source', 'archive', '--model', {str(tiny_model_folder)!r}]) == 0",
            f"assert main(['encode', 'source', 'archive', '--model', {str(tiny_model_folder)!r}]) == 0",
            "assert main(['verify', 'archive', '--source', 'source', '--sample', 'all']) == 0",
            "assert main(['decode', 'archive', 'back']) == 0",
            "assert not {'ray', 'ray.data'} & sys.modules.keys()",
        ]
    )
    done = subprocess.run([sys.executable, "-c", jobs], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "back").iterdir())) == 3
