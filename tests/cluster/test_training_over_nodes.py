"""Training with DDP over the nodes of a cluster."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.train.run import TrainResult, TrainSettings, train
from tests.conftest import photo_like
from tests.nodes import Nodes

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]
EVERY_STEP = 1e-4
"""Minutes between validations, less than any step takes."""


def settings(folder: Path, out: str, init: Path, **more: Any) -> TrainSettings:
    """A short run on some photographs, which are made here when they are missing."""
    images = folder / "images"
    if not images.exists():
        images.mkdir()
        for i in range(40):
            Image.fromarray(photo_like(96, 128, seed=i)).save(images / f"{i:02d}.png")
    values = {"images": str(images), "out": str(folder / out), "init": str(init), "batch": 4, "crop": 64}
    limits = {"max_steps": 10, "validate_minutes": EVERY_STEP, "validation_share": 0.1, "learning_rate": 2e-3}
    return TrainSettings(**values | limits | more)


def curve(result: TrainResult) -> list[float]:
    """Validation loss after every step."""
    assert [row["step"] for row in result.validation] == list(range(len(result.validation)))
    return [row["loss"] for row in result.validation]


def test_four_workers_on_two_nodes_learn_what_one_learns(head: Nodes, tmp_path: Path, tiny_model_folder: Path) -> None:
    for _ in range(2):
        head.add(cpus=2)
    one = curve(train(settings(tmp_path, "one", tiny_model_folder, workers=1)))
    four = curve(train(settings(tmp_path, "four", tiny_model_folder, workers=4)))
    other = curve(train(settings(tmp_path, "other", tiny_model_folder, workers=4, seed=1)))
    print([f"{b / a - 1:+.1e}" for a, b in zip(one, four, strict=True)])
    assert one[-1] < 0.9 * one[0]
    assert four == pytest.approx(one, rel=5e-3)
    assert other != pytest.approx(one, rel=5e-3), "other crops would not have been noticed"


def test_a_node_that_is_taken_away_costs_the_steps_since_the_last_checkpoint(
    head: Nodes, tmp_path: Path, tiny_model_folder: Path
) -> None:
    head.add(cpus=2)
    taken = head.add(cpus=2)
    history = tmp_path / "out" / "validation.jsonl"

    def rows() -> int:
        return len(history.read_text().splitlines()) if history.exists() else 0

    with ThreadPoolExecutor(1) as pool:  # trains, as Ray adds a node in a process's first thread alone
        training = pool.submit(train, settings(tmp_path, "out", tiny_model_folder, workers=4))
        while rows() < 4 and not training.done():
            time.sleep(0.1)
        head.kill(taken)
        killed_at = rows()
        head.add(cpus=2)
        result = training.result()
    assert 4 <= killed_at < 10
    assert len(curve(result)) == 11, "a row a step: none is missing and none is there twice"
    assert json.loads(history.read_text().splitlines()[-1])["step"] == result.steps == 10
    whole = curve(train(settings(tmp_path, "whole", tiny_model_folder, workers=4)))
    assert curve(result)[:killed_at] == pytest.approx(whole[:killed_at], rel=5e-3)
    assert curve(result)[-1] < 0.95 * curve(result)[0]
