"""The fixtures of these tests: one testbed for all, as setting it up takes longer than a kill."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.campaign import Campaign
from tests.chaos.testbed import ChaosEnvironment, testbed


@pytest.fixture(scope="module")
def bed() -> Iterator[ChaosEnvironment]:
    with testbed() as made:
        yield made


@pytest.fixture(scope="module")
def campaign(bed: ChaosEnvironment, tiny_model_folder: Path) -> Campaign:
    return Campaign(bed, tiny_model_folder, seed=0)
