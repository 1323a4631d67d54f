"""One Ray for the tests of jobs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch

from jobs.framework.ray_session import quiet_data
from model.checkpoint import serialise
from model.network.network import Network
from pipeline.execution.ray_init import start_ray
from tests.conftest import TINY


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """A local Ray that the jobs in this process share."""
    if ray.is_initialized():
        yield
        return
    start_ray(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False)
    quiet_data()
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def other_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second small model, with other weights."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("other-model")
    for name, data in serialise(Network(TINY)).items():
        (folder / name).write_bytes(data)
    return folder
