"""The fixtures of these tests: one testbed for all, as setting it up takes longer than a kill."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.demo.s3_server import S3Server, s3_server
from tests.chaos.campaign import Campaign
from tests.chaos.testbed import ChaosEnvironment, testbed


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def bed() -> Iterator[ChaosEnvironment]:
    with testbed() as made:
        yield made


@pytest.fixture(scope="module")
def campaign(bed: ChaosEnvironment, tiny_model_folder: Path) -> Campaign:
    return Campaign(bed, tiny_model_folder, seed=0)
