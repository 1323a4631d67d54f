"""What these tests share: one stage, as setting it up takes longer than a kill."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.demo.s3_server import S3Server, s3_server
from tests.chaos.campaign import Campaign
from tests.chaos.stage import Stage, stage


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def scene() -> Iterator[Stage]:
    with stage() as scene:
        yield scene


@pytest.fixture(scope="module")
def campaign(scene: Stage, tiny_model_folder: Path) -> Campaign:
    return Campaign(scene, tiny_model_folder, seed=0)
