"""Heads: small networks that learn a task from grids of numbers, either latents or patches of pixels.

    grid [B, h, w, C] --normalise, Linear--> (--Block, 2x2 to one, Linear-->) x halvings --Blocks--> features [.., W]
        ClassHead:  mean of each of 4 x 4 parts of the image --Linear--> [B, classes]
        DenseHead:  Linear at each position --> [B, h, w, classes]

A task is a subclass of `Head`: the layers after the features, the output and the loss. A further task (such as boxes
per position, for detection) is a further subclass; trunk, training and data do not change.
"""

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.layers.blocks import Block, space_to_depth

SMOOTHING = 0.1
"""Label smoothing: otherwise some hundred images are memorised."""
IGNORED = -1
"""Label of a position without a label."""
PARTS = 4
"""A class head pools over `PARTS` x `PARTS` parts of an image, as position says much about content."""


class Trunk(nn.Module):
    """Features of a grid, the same for every task.

    Quantised latents are heavy-tailed: most are 0, some are hundreds. So each channel is normalised and compressed by a
    signed logarithm. Whole channels are dropped at random against memorisation. The gates of the blocks
    (`model.layers.blocks`) can turn signed coefficients into energies.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, channels: int, width: int, depth: int, dropout: float, halvings: int = 0) -> None:
        """An untrained trunk.

        Args:
            channels: channels of the grid.
            width: channels of the features; half of it before the last halving.
            depth: number of blocks after the last halving.
            dropout: share of channels dropped in training.
            halvings: number of times that 2 x 2 positions become one.
        """
        super().__init__()
        widths = [width // 2] * halvings + [width]
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))
        self.dropout = nn.Dropout2d(dropout)
        self.stem = nn.Linear(channels, widths[0])
        self.narrow = nn.ModuleList(Block(w) for w in widths[:-1])
        self.down = nn.ModuleList(nn.Linear(4 * a, b) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.width = width

    def measure(self, grids: Tensor, inside: Tensor) -> None:
        """Take mean and standard deviation of the channels from examples, given as for `forward`."""
        values = grids[inside[..., 0] > 0]
        self.mean.copy_(values.mean(0))
        self.spread.copy_(values.std(0).clamp_(min=1e-6))

    def forward(self, grids: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """Features, and the mask of positions inside the image.

        Args:
            grids: `[B, h, w, C]`.
            inside: `[B, h, w, 1]`, 1 inside the image, 0 in the padding.

        Returns:
            `[B, h', w', W]` and `[B, h', w', 1]`, with sides halved `halvings` times, rounded up.
        """
        x = (grids - self.mean) / self.spread
        x = torch.sign(x) * torch.log1p(x.abs())
        x = self.dropout(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = self.stem(x) * inside
        for block, down in zip(self.narrow, self.down, strict=True):
            x, inside = _even(F.relu(block(x) * inside)), _even(inside)
            inside = space_to_depth(inside, 2).amax(-1, keepdim=True)
            x = down(space_to_depth(x, 2)) * inside
        for block in self.blocks:
            x = block(x) * inside  # otherwise the next block would see what this one puts into the padding
        return x, inside

    def multiply_adds(self, positions: int) -> int:
        """Multiply-adds of linear layers and convolutions in one pass over a grid with `positions` positions."""
        count = 0
        levels = zip((self.stem, *self.down), (*self.narrow, self.blocks), strict=True)
        for level, (join, block) in enumerate(levels):
            layers = [join, *(m for m in block.modules() if isinstance(m, (nn.Linear, nn.Conv2d)))]
            count += sum(layer.weight.numel() for layer in layers) * positions // 4**level
        return count


def _even(x: Tensor) -> Tensor:
    """Pad `[B, h, w, C]` with zeros at the right and bottom to even sides."""
    return F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))


class Head(nn.Module, ABC):
    """A task on a trunk's features."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, grids: Tensor, inside: Tensor) -> Tensor:
        """The task's output for grids `[B, h, w, C]`."""
        return self.answer(*self.trunk(grids, inside))

    @abstractmethod
    def answer(self, features: Tensor, inside: Tensor) -> Tensor:
        """The task's output for features `[B, h, w, W]`."""

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Training loss, a scalar."""


class ClassHead(Head):
    """Classification of images: output `[B, classes]`, target integers `[B]`."""

    def __init__(self, trunk: Trunk, classes: int) -> None:
        super().__init__(trunk)
        self.norm = nn.LayerNorm(trunk.width)
        self.dropout = nn.Dropout(0.3)
        self.out = nn.Linear(PARTS**2 * trunk.width, classes)

    def answer(self, features: Tensor, inside: Tensor) -> Tensor:
        """Logits of the classes."""
        parts = in_parts(self.norm(features) * inside, inside)
        logits: Tensor = self.out(self.dropout(parts.flatten(1)))
        return logits

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy with smoothed labels."""
        return F.cross_entropy(output, target, label_smoothing=SMOOTHING)


class DenseHead(Head):
    """Classification of positions: output `[B, h, w, classes]`, target integers `[B, h, w]` or `IGNORED`."""

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


def in_parts(features: Tensor, inside: Tensor) -> Tensor:
    """Pool features to `[B, PARTS, PARTS, W]` over parts of each image, whatever its size, with bilinear weights."""
    rows, columns = inside[:, :, 0, 0].sum(1), inside[:, 0, :, 0].sum(1)
    down, across = _weights(features.shape[1], rows), _weights(features.shape[2], columns)
    return torch.einsum("bhwc,bhi,bwj->bijc", features, down, across)


def _weights(positions: int, sizes: Tensor) -> Tensor:
    """Weight of each position in each part, `[B, positions, PARTS]`, for images of the given sizes `[B]`."""
    place = torch.arange(positions, device=sizes.device)[None, :]
    centre = ((place + 0.5) / sizes[:, None] * PARTS - 0.5).clamp(0, PARTS - 1)
    weights = (1 - (centre[..., None] - torch.arange(PARTS, device=sizes.device)).abs()).clamp(min=0)
    weights = weights * (place < sizes[:, None])[..., None]
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-6)
