"""Configurations survive JSON, and invalid ones are rejected."""

import json
from dataclasses import replace
from typing import Any

import pytest

from model.core.config import CodecConfig
from model.core.errors import MaepressError
from model.network.network import Network, parameters_by_part
from tests.conftest import TINY


@pytest.mark.parametrize("config", [CodecConfig(), TINY])
def test_a_configuration_survives_json(config: CodecConfig) -> None:
    assert CodecConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    "change",
    [
        {"patch_channels": 193},
        {"latent_channels": 65},
        {"latent_channels": 14},
        {"latent_channels": 194},
        {"hyper_width": 0},
        {"scale_width": 10**9},
        {"scale_width": 1.5},
        {"scale_width": "16"},
        {"scale_width": True},
        {"analysis_blocks": 3},
        {"analysis_blocks": (1, 2, 3)},
        {"synthesis_blocks": (1, -1)},
    ],
)
def test_invalid_values_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MaepressError, match=next(iter(change)).split("_")[0]):
        replace(TINY, **change)


@pytest.mark.parametrize("values", [None, [], {}, {**TINY.to_json(), "extra": 1}])
def test_json_that_is_not_a_configuration_is_refused(values: object) -> None:
    with pytest.raises(MaepressError, match="exactly the fields"):
        CodecConfig.from_json(values)


def test_the_shipped_shape_stays_within_its_budget() -> None:
    parts = parameters_by_part(Network(CodecConfig()))
    assert sum(parts.values()) < 6_000_000
    assert all(count > 0 for count in parts.values())
