"""A second model for the tests of jobs."""

from pathlib import Path

import pytest
import torch

from model.checkpoint import serialise
from model.network.network import Network
from tests.conftest import TINY


@pytest.fixture(scope="session")
def other_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second small model, with other weights."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("other-model")
    for name, data in serialise(Network(TINY)).items():
        (folder / name).write_bytes(data)
    return folder
