"""Trains a head: examples of any sizes padded into batches, for a fixed number of epochs, the same for every input.

The augmentation works for any grid: random crops, and dropout of channels (in the trunk). Mirroring is left to the
caller: a mirrored grid of patches is not a grid of mirrored patches, and the effect of mirroring on the channels of
latents depends on their network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.probe.heads import IGNORED, Head

BATCH = 32
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 0.1
WARM_UP = 0.05
"""Share of the steps over which the learning rate rises; afterwards it follows a cosine."""
LEAST_SIDE = 0.75
"""Smallest side of a random crop, relative to the image's."""
MEASURED = 128
"""Examples from which the trunk takes the channels' mean and standard deviation."""
Grids = NDArray[np.float32]


class Examples(Protocol):
    """Grids `[h, w, C]` of any sizes with their targets: an integer, or integers `[h, w]`."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> tuple[Grids, Any]: ...


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Padded examples: `grids` float32 `[B, h, w, C]`, `inside` `[B, h, w, 1]`, `target` `[B]` or `[B, h, w]`."""

    grids: Tensor
    inside: Tensor
    target: Tensor


def together(examples: Sequence[tuple[Grids, Any]]) -> Batch:
    """Examples of any sizes as one batch, each in the upper left corner."""
    height, width = (max(grid.shape[axis] for grid, _ in examples) for axis in (0, 1))
    dense = np.ndim(examples[0][1]) > 0
    grids = np.zeros((len(examples), height, width, examples[0][0].shape[2]), np.float32)
    inside = np.zeros((*grids.shape[:3], 1), np.float32)
    target = np.full(grids.shape[:3] if dense else grids.shape[:1], IGNORED, np.int64)
    for i, (grid, wanted) in enumerate(examples):
        place = (i, slice(grid.shape[0]), slice(grid.shape[1]))
        grids[place], inside[place] = grid, 1
        target[place if dense else i] = wanted
    return Batch(*map(torch.from_numpy, (grids, inside, target)))


def random_crop(example: tuple[Grids, Any], rng: np.random.Generator) -> tuple[Grids, Any]:
    """A random crop of an example."""
    grid, target = example
    sides = [max(1, round(side * rng.uniform(LEAST_SIDE, 1))) for side in grid.shape[:2]]
    corner = [int(rng.integers(whole - side + 1)) for whole, side in zip(grid.shape, sides, strict=False)]
    place = tuple(slice(a, a + side) for a, side in zip(corner, sides, strict=True))
    return grid[place], target[place] if np.ndim(target) else target


def fit(
    head: Head, examples: Examples, epochs: int, seed: int, notify: Callable[[str], None] = lambda text: None
) -> None:
    """Train a head in place.

    Args:
        head: a new head; its trunk takes the channels' mean and standard deviation from the examples.
        examples: training examples, at least one.
        epochs: number of passes over the examples.
        seed: seed of their order and of the random crops.
        notify: called with a line of text after each epoch.
    """
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(examples))[:MEASURED]
    first = together([examples[int(i)] for i in some])
    head.trunk.measure(first.grids, first.inside)
    optimiser = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * -(-len(examples) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / (WARM_UP * steps)) * (1 + np.cos(np.pi * step / steps)) / 2
    )
    head.train()
    for epoch in range(epochs):
        order = rng.permutation(len(examples))
        total = 0.0
        for start in range(0, len(order), BATCH):
            batch = together([random_crop(examples[int(i)], rng) for i in order[start : start + BATCH]])
            loss = head.loss(head(batch.grids, batch.inside), batch.target)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item() * len(batch.grids)
        notify(f"epoch {epoch + 1} of {epochs}: loss {total / len(order):.3f}")
    head.eval()


@torch.inference_mode()
def answers(head: Head, examples: Examples) -> NDArray[np.int64]:
    """The most likely class of each example, integers `[N]`, by a head that outputs logits per image."""
    found = []
    for start in range(0, len(examples), BATCH):
        batch = together([examples[i] for i in range(start, min(start + BATCH, len(examples)))])
        found.append(head(batch.grids, batch.inside).argmax(-1).numpy())
    return np.concatenate(found)
