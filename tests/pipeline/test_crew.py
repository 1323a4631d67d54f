"""Encoders on a cluster that has no GPU yet."""

import pytest

from model.errors import MaepressError
from pipeline.crew import gather


def test_encoders_wait_for_gpus_when_it_was_said_how_many_there_shall_be() -> None:
    crew = gather({"CPU": 16}, (2, 8), 1)
    assert (crew.least, crew.start, crew.most, crew.gpus) == (2, 2, 8, 1)


def test_a_cluster_without_gpus_is_refused_when_it_was_not() -> None:
    with pytest.raises(MaepressError, match="--actors MIN:MAX to wait"):
        gather({"CPU": 16}, None, 1)
