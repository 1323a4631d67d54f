"""Units that never open: found with training images, and drawn anew.

A block multiplies values by gates, `relu(gate) * value`. A gate that is closed at every position of
every image got no gradient in trainings before `model.layers.relu`, so it stayed closed, and its
multiply-adds were wasted. That happened where inputs vary far less than biases: pictures become
numbers that vary by hundredths, a linear layer starts with biases of a tenth, and training moves
them by a thousandth per step. The features of z that the means are computed from closed in the same
way, all of them.

The remedy is to start units by what their inputs are (Krähenbühl et al., "Data-dependent
initializations of convolutional neural networks", ICLR 2016), here of units in a trained network,
whose function stays the same.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from model.entropy.hyperprior import MeanContext, Means
from model.layers.blocks import Block
from model.network.network import Network

GATE, VALUE = 0.5, 0.25
"""Deviations of drawn gates, and of drawn values in deviations of the inputs. Gates are so large that the steps of
training do not close them soon, values so small that the projection, which begins with zeros, learns in small steps."""
FEATURE = 1.0
"""Deviation of drawn features of z before their rectifier; the means begin without them, and learn in small steps."""
FLATTENING = 0.5
"""Exponent by which a channel's deviation is divided out of drawn directions: 0 would give nearly all of them to the
lowest frequency, 1 as much to faint noise as to it."""

LEAST_DEVIATION = 1e-3
"""Inputs that vary less count as if they varied by this much: nothing is to be learned from them."""
CONSTANT = 1e-12
"""Variance up to which an input is constant, such as a channel that nothing writes to yet: no direction reads it."""


@dataclass
class Seen:
    """Sums over positions of what a block's matrix product gets, and how far its gates open.

    Attributes:
        count: number of positions.
        total: sum of inputs, float64 `[C]`.
        square: sum of outer products of inputs, float64 `[C, C]`.
        largest: largest value of each unit's gate before its rectifier, `[C]`.
    """

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    square: Tensor = field(default_factory=lambda: torch.zeros(()))
    largest: Tensor = field(default_factory=lambda: torch.tensor(-torch.inf))

    @property
    def mean(self) -> Tensor:
        """Of the inputs, float64 `[C]`."""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """Of the inputs, float64 `[C, C]`."""
        return self.square / self.count - self.mean.outer(self.mean)

    def add(self, rows: Tensor) -> None:
        """Count inputs `[N, C]`, float64."""
        self.count += len(rows)
        self.total, self.square = self.total + rows.sum(0), self.square + rows.T @ rows


def redraw_closed_units(
    networks: Iterable[Network], batches: Iterable[tuple[Tensor, Tensor]], seed: int
) -> dict[str, tuple[int, int]]:
    """Draw anew the units that stay closed, in several networks of one shape, without changing what they compute.

    They are units of blocks, and the features of z that the means are computed from where all of them are closed.

    The inputs of each block are centred, too (the depthwise bias takes off their mean and the expansion's bias adds its
    effect), so that products in bfloat16 keep what varies. What the first network sees decides for all of them.

    Args:
        networks: the weights in training, and perhaps their moving average; changed in place.
        batches: at least one: images, float `[B, H, W, 3]` in 0..1, sides multiples of 64, and integer qualities `[B]`.
        seed: of the directions drawn.

    Returns:
        for each block, and for the layer before the features, by name, the numbers of units redrawn and of all units.
    """
    first, *others = networks
    batches, random = list(batches), torch.Generator().manual_seed(seed)
    redrawn = {"means.up2": _redraw_features([network.means for network in (first, *others)], first, batches, random)}
    blocks = [blocks_of(network) for network in (first, *others)]
    for name, at in seen_by_blocks(first, batches).items():
        same = [found[name] for found in blocks]
        closed, mean, covariance = at.largest <= 0, at.mean, at.covariance
        deviation = covariance.diagonal().clamp_min(0.0).sqrt().mean()
        gates, values = (_directions(covariance, int(closed.sum()), random) for _ in range(2))
        rows = torch.cat([gates * GATE, values * VALUE * deviation])
        for block in same:
            _centre(block, mean)
            _redraw(block, closed, rows)
        redrawn[name] = (int(closed.sum()), len(closed))
    return redrawn


@torch.no_grad()
def _redraw_features(
    several: list[Means], first: Network, batches: Iterable[tuple[Tensor, Tensor]], random: torch.Generator
) -> tuple[int, int]:
    """Draw anew the features of z before the last block of the means if none of them ever opens."""
    seen, width = seen_before_features(first, batches), several[0].up2.in_features
    if bool((seen.largest > 0).any()):
        return 0, width
    weight = FEATURE * _directions(seen.covariance, 4 * width, random)
    for means in several:
        fold_closed_features(means)
        means.up2.weight.copy_(weight)
        means.up2.bias.copy_(-weight @ seen.mean)
        means.rows.knots.zero_()
    return width, width


@torch.no_grad()
def seen_before_features(network: Network, batches: Iterable[tuple[Tensor, Tensor]]) -> Seen:
    """What the layer before the features of z for the means gets, with the features in place of gates."""
    seen = Seen()
    for image, quality in batches:
        y = network.analysis(image)
        z = torch.round(network.hyper_analysis(y * network.gain(quality), y, quality))
        inputs, features = network.means.before(z, quality)
        seen.add(inputs.flatten(0, 2).double())
        seen.largest = torch.maximum(seen.largest, features.amax((0, 1, 2)))
    return seen


@torch.no_grad()
def fold_closed_features(means: Means) -> None:
    """Move what features that stay closed add to the means into biases; no layer reads the features after that."""
    width = means.up2.in_features
    constant = means.block2(torch.zeros(1, 1, 1, width))[0, 0, 0]
    joins = [context.join for context in means.later if isinstance(context, MeanContext)]
    for layer in (means.first, *joins):
        layer.bias.add_(layer.weight[:, :width] @ constant)
        layer.weight[:, :width] = 0.0


def seen_by_blocks(network: Network, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Seen]:
    """What each block sees, by name, while the network runs on images and integer qualities."""
    with _watching(blocks_of(network)) as seen, torch.enable_grad():  # without gradients, blocks take another path
        for image, quality in batches:
            network(image, quality)
    return seen


def blocks_of(network: nn.Module) -> dict[str, Block]:
    """The blocks inside a module, by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Block)}


@torch.no_grad()
def close(block: Block) -> None:
    """Close all units of a block that has no effect yet, so that they are drawn anew."""
    gates = block.project.in_features
    block.expand.weight[:gates], block.expand.bias[:gates] = 0.0, -1.0


@contextmanager
def _watching(blocks: dict[str, Block]) -> Iterator[dict[str, Seen]]:
    """What the blocks see while the network runs."""
    seen = {name: Seen() for name in blocks}

    def watch(name: str, block: Block) -> "torch.utils.hooks.RemovableHandle":
        @torch.no_grad()
        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            sums = block.spatial(inputs[0].float().permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(0, 2)
            gate = block.expand(sums).chunk(2, -1)[0]
            seen[name].add(sums.double())
            seen[name].largest = torch.maximum(seen[name].largest, gate.amax(0))

        return block.register_forward_pre_hook(note)

    handles = [watch(name, block) for name, block in blocks.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _directions(covariance: Tensor, count: int, random: torch.Generator) -> Tensor:
    """Random rows `[count, C]`: times inputs of this covariance they deviate by 1, or by less where it is tiny."""
    variance = covariance.diagonal()
    deviation = variance.clamp_min(LEAST_DEVIATION**2).sqrt()
    rows = torch.randn(count, len(deviation), generator=random, dtype=torch.float64) / deviation**FLATTENING
    rows *= variance > CONSTANT
    rows /= rows.norm(dim=1, keepdim=True).clamp_min(1e-9)
    return rows / torch.einsum("nc,cd,nd->n", rows, covariance, rows).clamp_min(LEAST_DEVIATION**2).sqrt()[:, None]


@torch.no_grad()
def _centre(block: Block, mean: Tensor) -> None:
    """Take the mean off the depthwise sums; the output stays the same."""
    assert block.spatial.bias is not None
    block.expand.bias.add_(block.expand.weight.double() @ mean)
    block.spatial.bias.sub_(mean)


@torch.no_grad()
def _redraw(block: Block, closed: Tensor, rows: Tensor) -> None:
    """Give closed units new directions through the mean of their inputs, and no effect on the output yet."""
    units = closed.nonzero()[:, 0]
    both = torch.cat([units, units + len(closed)])
    block.expand.weight[both] = rows.to(block.expand.weight.dtype)
    block.expand.bias[both] = 0.0
    block.project.weight[:, units] = 0.0
