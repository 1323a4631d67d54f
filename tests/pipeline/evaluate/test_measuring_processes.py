"""Images measured in several processes: all are measured, even if a process dies."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from model.core.errors import MaepressError
from pipeline.evaluate.measurement import OURS, MeasuredImage, MeasurementPlan, Skipped
from pipeline.evaluate.measuring_processes import measured_in_processes
from pipeline.storage.base import Fetched, FetchFailed, StorageError
from pipeline.storage.local.store import LocalStore
from tests.conftest import photo_like


class Deadly(LocalStore):
    """A store that kills the process that reads from it, as a machine short of memory does."""

    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Failing(LocalStore):
    """A store that gives no answer for any object, which is no one image's fault."""

    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        raise StorageError("the store is gone")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i in range(3):
        Image.fromarray(photo_like(64, 64 + i, seed=i)).save(tmp_path / f"{i}.png")
    (tmp_path / "broken.png").write_bytes(b"not an image")
    return tmp_path


def test_every_image_is_measured_once_by_two_processes(photos: Path, tiny_model_folder: Path) -> None:
    source = LocalStore(str(photos))
    plan = MeasurementPlan(source, (0, 40), (30.0,), 10_000)
    results = list(measured_in_processes(list(source.entries()), plan, str(tiny_model_folder), 2))
    found = dict(results)
    assert len(results) == len(found) == 4
    assert isinstance(found["broken.png"], Skipped)
    for i in range(3):
        image = found[f"{i}.png"]
        assert isinstance(image, MeasuredImage)
        assert (image.key, image.width) == (f"{i}.png", 64 + i)
        assert [point.quality for point in image.points[OURS]] == [0, 40]


def test_a_killed_process_ends_in_one_line(photos: Path, tiny_model_folder: Path) -> None:
    source = Deadly(str(photos))
    plan = MeasurementPlan(source, (0, 40), (30.0,), 10_000)
    with pytest.raises(MaepressError, match="give fewer --workers"):
        list(measured_in_processes(list(source.entries()), plan, str(tiny_model_folder), 1))


def test_a_failing_store_ends_the_measuring_here(photos: Path, tiny_model_folder: Path) -> None:
    source = Failing(str(photos))
    plan = MeasurementPlan(source, (0, 40), (30.0,), 10_000)
    with pytest.raises(StorageError, match="the store is gone"):
        list(measured_in_processes(list(source.entries()), plan, str(tiny_model_folder), 1))
