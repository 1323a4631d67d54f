"""What this machine does not have is noticed before Ray starts, unless a cluster is addressed."""

from pathlib import Path

import pytest

from model.core.cores import cores
from model.core.errors import MaepressError
from pipeline.decode.run import DecodeSettings, checked_archive
from pipeline.execution import local_resources
from pipeline.execution.local_resources import require_cores, require_gpus
from pipeline.train.run import TrainSettings, checked_output


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(local_resources, "ray_is_connected", lambda: False)


@pytest.fixture
def two_gpus(tmp_path: Path) -> Path:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "dri/card0", "dri/renderD128"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_more_gpus_than_there_are_devices_are_refused(two_gpus: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    for each, users in ((2.0, 1), (0.5, 4), (None, 9), (0.0, 9)):
        require_gpus(each, "--gpus-per-actor", users=users, dev=two_gpus)
    with pytest.raises(MaepressError, match="--gpus-per-worker asks for 3 x 1 GPUs, this machine has 2"):
        require_gpus(1, "--gpus-per-worker", users=3, dev=two_gpus)
    none = tmp_path_factory.mktemp("none")
    with pytest.raises(MaepressError, match="this machine has 0: give --gpus-per-actor 0"):
        require_gpus(0.1, "--gpus-per-actor", dev=none)
    (none / "dxg").touch()  # GPUs of Windows, whose number it does not say
    require_gpus(4, "--gpus-per-actor", dev=none)


def test_workers_need_cores() -> None:
    require_cores(cores(), "--workers")
    with pytest.raises(MaepressError, match="--workers 100000 needs as many cores") as refused:
        require_cores(100_000, "--workers")
    assert "\n" not in str(refused.value)


def test_a_cluster_may_have_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    require_gpus(1000, "--gpus-per-actor", dev=tmp_path)
    require_cores(100_000, "--workers")


def test_jobs_ask_before_they_look_at_anything_else(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    with pytest.raises(MaepressError, match="--gpus-per-actor asks for 1000 GPUs"):
        checked_archive(DecodeSettings(archive=absent, dest=str(tmp_path / "d"), gpus_per_actor=1000))
    with pytest.raises(MaepressError, match="--workers 1000 needs as many cores"):
        checked_output(TrainSettings(images=absent, out=str(tmp_path / "m"), workers=1000, batch=1000))
    with pytest.raises(MaepressError, match="--gpus-per-worker asks for 1000 x 1 GPUs"):
        checked_output(TrainSettings(images=absent, out="m", workers=1000, batch=1000, gpus_per_worker=1))
