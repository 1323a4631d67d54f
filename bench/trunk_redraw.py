"""A trunk's closed units drawn anew: its newest state in a new folder, from which training goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.trunk_copy import Copy
from bench.trunk_rank import crops_of, keys_of, learner_of
from model.network.closed_units import redraw_closed_units
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
    copy = Copy.of(out, new)
    learner = learner_of(copy.settings, 0, 1, copy.state)
    redrawn = redraw_closed_units(
        (learner.network, learner.average), first_batches(copy.settings), copy.settings["seed"]
    )
    for name, (closed, units) in redrawn.items():
        print(f"{name:24} {closed:4} of {units} units drawn anew")
    print(copy.write(learner.network, learner.average))


def first_batches(settings: dict[str, Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """The first batches of a training with these settings: images `[B, H, W, 3]` in 0..1, and qualities `[B]`."""
    with crops_of(settings, keys_of(settings), 0, 1, step=0) as crops:
        for step in range(BATCHES):
            image = crops.next()
            yield image, draw_step(settings["seed"], step, image, rank=0, world=1, channels=1, hide=0.0).quality
