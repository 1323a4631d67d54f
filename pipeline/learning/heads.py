"""Heads: small networks that learn a task from grids of numbers, be they latents or patches of pixels.

    grid [B, h, w, C] --normalise, Linear--> --Blocks--> features [B, h, w, W]
        ClassHead:  mean over the image --LayerNorm, Linear--> [B, classes]
        DenseHead:  Linear a position --> [B, h, w, classes]

A task is a `Head`: what comes after the features, the loss, and the answer. Another one (boxes a position, for
detection) is another subclass; the trunk, the training and the data stay as they are.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.layers import blocks

SMOOTHING = 0.1
"""Share of the target that is spread over all classes: some hundred images are learned by heart otherwise."""
IGNORED = -1
"""A position without a label."""


class Trunk(nn.Module):
    """Features of a grid, the same for every task.

    Numbers of quantised latents are heavy-tailed: most are 0, some are hundreds. So each channel is scaled by its own
    spread and its logarithm is taken, sign apart. Blocks (`model.layers`) gate: they can make energies of signed
    coefficients.
    """

    def __init__(self, channels: int, width: int, depth: int, dropout: float) -> None:
        """Args: channels: of the grid; width: of the features; depth: blocks; dropout: share of inputs left out."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))
        self.dropout = nn.Dropout(dropout)
        self.stem = nn.Linear(channels, width)
        self.blocks = blocks(width, depth)
        self.width = width

    def measure(self, grids: Tensor, inside: Tensor) -> None:
        """Take mean and spread of the channels from examples, as `forward` gets them."""
        values = grids[inside[..., 0] > 0]
        self.mean.copy_(values.mean(0))
        self.spread.copy_(values.std(0).clamp_(min=1e-6))

    def forward(self, grids: Tensor, inside: Tensor) -> Tensor:
        """Features `[B, h, w, W]` of grids `[B, h, w, C]`; `inside` `[B, h, w, 1]` is 1 in the image, 0 around it."""
        x = (grids - self.mean) / self.spread
        x = torch.sign(x) * torch.log1p(x.abs())
        x = self.stem(self.dropout(x)) * inside
        for block in self.blocks:
            x = block(x) * inside  # what a block puts around the image, the next one would see
        return x


class Head(nn.Module, ABC):
    """A task on a trunk's features."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, grids: Tensor, inside: Tensor) -> Tensor:
        """What the task makes of grids `[B, h, w, C]`."""
        return self.answer(self.trunk(grids, inside), inside)

    @abstractmethod
    def answer(self, features: Tensor, inside: Tensor) -> Tensor:
        """The task's output of features `[B, h, w, W]`."""

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """What training lowers, a number."""


class ClassHead(Head):
    """One of some classes an image: output `[B, classes]`, target integers `[B]`."""

    def __init__(self, trunk: Trunk, classes: int) -> None:
        super().__init__(trunk)
        self.norm = nn.LayerNorm(2 * trunk.width)
        self.out = nn.Linear(2 * trunk.width, classes)

    def answer(self, features: Tensor, inside: Tensor) -> Tensor:
        """Logits of the classes, from the mean and the largest of each feature over the image."""
        mean = features.sum((1, 2)) / inside.sum((1, 2))
        largest = features.masked_fill(inside == 0, -torch.inf).amax((1, 2))
        logits: Tensor = self.out(self.norm(torch.cat([mean, largest], -1)))
        return logits

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy with smoothed labels."""
        return F.cross_entropy(output, target, label_smoothing=SMOOTHING)


class DenseHead(Head):
    """One of some classes a position: output `[B, h, w, classes]`, target integers `[B, h, w]` or `IGNORED`."""

    def __init__(self, trunk: Trunk, classes: int) -> None:
        super().__init__(trunk)
        self.out = nn.Linear(trunk.width, classes)

    def answer(self, features: Tensor, inside: Tensor) -> Tensor:
        """Logits of the classes at every position."""
        logits: Tensor = self.out(features)
        return logits

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy over the positions that have a label."""
        return F.cross_entropy(output.flatten(0, 2), target.flatten(), ignore_index=IGNORED)


def multiply_adds(head: Head, positions: int) -> int:
    """Multiply-adds of one pass over so many positions, of the layers that matter."""
    per_position = sum(m.weight.numel() for m in head.trunk.modules() if isinstance(m, (nn.Linear, nn.Conv2d)))
    return positions * per_position
