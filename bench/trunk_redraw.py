"""A trunk's closed units drawn anew: its newest state in a new folder, from which training goes on."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from bench.trunk_files import HISTORY, SETTINGS, newest, replace
from bench.trunk_rank import crops_of, keys_of, learner_of
from model.core.errors import MaepressError
from model.network.closed_units import redraw_closed_units
from pipeline.train.checkpoint import STATE
from pipeline.train.step_randomness import draw_step

BATCHES = 8
"""Batches of training crops at random qualities that decide which units are closed."""


def redraw(out: Path, new: Path) -> None:
    """Copy the newest state of a trunk, with its closed units drawn anew in the weights and in their average.

    Counters, history and moments stay: those of closed units are zero, as they got no gradients.

    Args:
        out: the trunk, which does not change.
        new: folder of the new trunk; must not exist.

    Raises:
        MaepressError: when there is no state, or the new folder exists.
    """
    state = newest(out)
    if state is None:
        raise MaepressError(f"{out} holds no state: start a trunk with `run`")
    if new.exists():
        raise MaepressError(f"{new} exists: give a new folder")
    settings = dict(json.loads((out / SETTINGS).read_text()))
    learner = learner_of(settings, 0, 1, state)
    redrawn = redraw_closed_units((learner.network, learner.average), _batches(settings), settings["seed"])
    for name, (closed, units) in redrawn.items():
        print(f"{name:24} {closed:4} of {units} units drawn anew")
    partial = new.with_name(new.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(state, partial / state.name)
    parts = {"weight": learner.network, "average": learner.average}
    save_file(
        {f"{part}.{name}": value for part, network in parts.items() for name, value in network.state_dict().items()},
        partial / state.name / STATE,
    )
    if (out / HISTORY).exists():
        shutil.copy(out / HISTORY, partial / HISTORY)
    replace(partial / SETTINGS, (json.dumps(settings, indent=1) + "\n").encode())
    partial.rename(new)
    print(f"{state.name} -> {new}: go on with run {settings['recipe']} {settings['images']} {new}")


def _batches(settings: dict[str, Any]) -> Iterator[tuple[Tensor, Tensor]]:
    with crops_of(settings, keys_of(settings), 0, 1, step=0) as crops:
        for step in range(BATCHES):
            image = crops.next()
            yield image, draw_step(settings["seed"], step, image, rank=0, world=1, channels=1, hide=0.0).quality
