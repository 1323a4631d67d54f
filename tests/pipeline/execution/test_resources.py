"""Encoders on a cluster that has no GPU yet."""

import pytest

from model.core.errors import MaepressError
from pipeline.execution.resources import plan_resources


def test_encoders_wait_for_gpus_when_their_number_is_given() -> None:
    workers = plan_resources({"CPU": 16}, (2, 8), 1)
    assert (workers.least, workers.start, workers.most, workers.gpus) == (2, 2, 8, 1)


def test_a_cluster_without_gpus_is_refused_when_no_number_is_given() -> None:
    with pytest.raises(MaepressError, match="--actors MIN:MAX to wait"):
        plan_resources({"CPU": 16}, None, 1)


def test_only_an_encoder_with_a_gpu_fits_on_a_machine_that_offers_no_core() -> None:
    workers = plan_resources({"CPU": 16, "GPU": 2}, None, None)
    assert (workers.gpus, workers.encoder_cpus) == (1, 0)
    assert workers.task_cpus > 0 and workers.writer_cpus > 0
