"""Refinement of latents before they are coded: the encoder moves symbols where that lowers its objective.

The objective is that of training, bits + lambda * distortion, for the picture at hand:

    y --quantise--> symbols, latent --synthesis--> pixels --distortion--> gradient by each latent
    ^                                                                              |
    +---- symbols that would lower the objective by moving up or down by one <-----+

A step reckons for each symbol what a move by one would change: the distortion by a slope and a
curvature, the bits by the table of its scale index. Symbols whose move pays are moved, all at once,
by putting y where the encoder's rounding gives the new symbol. Hyper-latents stay those of the
unrefined y, and nothing changes for the decoder.

With e the error that rounding made, in quantisation steps, and c the curvature, the gradient is
c * e and what the errors of all other symbols add to it. That part changes while they move, so it
counts by a growing share of its mean over the steps. c is known from the same gradients: it is how
they follow the errors in a channel, and around a position.

Campos et al. 2019 ("Content adaptive optimization for neural image compression") and Yang et al.
2020 ("Improving inference for neural image compression") follow hundreds to thousands of gradients
through all networks. Here the rounding is a decision, as in the rate-distortion optimised
quantisation of video codecs, so that a few gradients suffice.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.bitstream.probability_tables import SCALES
from model.core.effort import checked_effort
from model.entropy.priors import ESCAPE_BITS
from model.inference import window_coding
from model.inference.tiling import Window
from model.inference.window_coding import BatchQualities
from model.layers.precision import denormals_as_zero
from model.layers.quality import tradeoff
from model.network.loss import Distortion, distortion
from model.network.network import Network

STEPS = (0, 1, 3, 8)
"""Steps of each effort."""
BLOCK = 40
"""Largest side of a block that is refined by itself, in latents; a multiple of 4.

Blocks do not depend on the tiles of the encode, so neither does the result.
"""
HALO = 4
"""Latents around a block that are refined with it and dropped: an even number."""
SHARE = 0.25
"""Share that the newest slope by other symbols has in the mean over the steps, which starts at zero."""
MOST_ASIDE = 0.3
"""Largest distance, in quantisation steps, by which other symbols may move the best value of one."""
EVENNESS = 0.5
"""Weight of the mean curvature of all channels against each channel's own: few errors tell little of it."""
LEAST_CURVATURE = 0.3
"""Of a channel, as a share of the mean of all."""
MOST_LOCAL = 4.0
"""Largest factor on the curvature around a position; the least is its inverse."""
PRIOR = 0.2
"""Weight of a factor of 1 against what is found around a position, as a share of the mean there."""
INSIDE = 0.2
"""Distance from the middle of its bin, in quantisation steps away from zero, at which y is put for a new symbol:
rounding to it needs more than half a step, up to 1.2 where zero is nearly certain."""
SIZES = 256
"""Symbols in the table of bits; larger ones cost as much as the largest, so that moving them is free."""


@dataclass(frozen=True, slots=True)
class Refinement:
    """How to refine.

    Attributes:
        steps: number of steps, at least 1.
        kind: the distortion of the objective.
    """

    steps: int
    kind: Distortion

    @classmethod
    def of(cls, effort: int, kind: Distortion) -> "Refinement | None":
        """The refinement of an effort, None for 0.

        Raises:
            MaepressError: for an effort out of range.
        """
        steps = STEPS[checked_effort(effort)]
        return cls(steps, kind) if steps else None


@dataclass(frozen=True, eq=False, slots=True)
class Area:
    """A window of one picture, and what it is coded with.

    Attributes:
        image: uint8 RGB `[1, H, W, 3]`; it ends where the picture ends.
        grey: whether the picture is grey.
        y: latents by the analysis, `[1, h, w, M]`.
        z: hyper-latents around the window, integers `[1, zh, zw, Z]`.
        qualities: of the picture.
        position: of the window, in latents relative to the corner of z; its corner has even
            coordinates.
    """

    image: Tensor
    grey: bool
    y: Tensor
    z: Tensor
    qualities: BatchQualities
    position: Window


def refined(network: Network, area: Area, refinement: Refinement) -> Tensor:
    """Refined latents y of an area, `[1, h, w, M]`: less good near its edges, as what lies beyond is not seen."""
    with torch.inference_mode(False), torch.no_grad(), denormals_as_zero():
        return _Refiner(network, area, refinement.kind).run(refinement.steps)


@dataclass(frozen=True, eq=False, slots=True)
class _Coded:
    """An area's integers in float, and the latents that the decoder would see; all `[1, h, w, M]`."""

    symbols: Tensor
    indices: Tensor
    latent: Tensor


class _Refiner:
    """Refines one area. Tensors of inference mode are copied: they may take no part in a gradient."""

    def __init__(self, network: Network, area: Area, kind: Distortion) -> None:
        self._network, self._kind, self._grey, self._position = network, kind, area.grey, area.position
        self._image, self._start, self._z = area.image / 255, area.y.clone(), area.z.clone()
        given = area.qualities
        self._qualities = BatchQualities(given.quality.clone(), given.fine_quality.clone(), given.gain.clone())
        self._bits = _table_of_bits(network)

    def run(self, steps: int) -> Tensor:
        y, gain = self._start, self._qualities.gain
        curvature: Tensor | None = None
        by_others = torch.zeros_like(y)
        best, least = y, math.inf
        for _ in range(steps):
            coded = self._code(y)
            objective, gradient = self._objective(coded)
            best, least = (y, objective) if objective < least else (best, least)
            error, slope = (coded.latent - self._start) * gain, gradient / gain
            if curvature is None:  # of the first errors: those of later steps are chosen by their slopes
                curvature = _curvature(error, slope)
            own, limit = curvature * error, MOST_ASIDE * curvature
            by_others = torch.lerp(by_others, slope - own, SHARE)
            moved = self._moved(coded, own + by_others.clamp(-limit, limit), curvature)
            mean = coded.latent - self._network.prior.reconstruct(coded.symbols, coded.indices) / gain
            y = torch.where(moved != coded.symbols, mean + (moved + INSIDE * moved.sign()) / gain, y)
        if steps == 1:  # it seldom fails, and a look at it would cost half as much again
            return y
        return y if self._objective(self._code(y), slope=False)[0] < least else best

    def _code(self, y: Tensor) -> _Coded:
        coded = window_coding.quantise(self._network, y, self._z, self._qualities, self._position)
        return _Coded(coded.symbols.to(torch.float32), coded.indices.to(torch.float32), coded.latent)

    def _objective(self, coded: _Coded, *, slope: bool = True) -> tuple[float, Tensor]:
        """Bits of the symbols + lambda * distortion, in bits of the whole area; with the latter's gradient."""
        leaf = coded.latent.clone().requires_grad_(slope)
        height, width = self._image.shape[1:3]
        with torch.set_grad_enabled(slope):
            output = self._network.synthesis(leaf, self._qualities.quality)[:, :height, :width].clamp(0, 1)
            if self._grey:
                output = output.mean(3, keepdim=True).expand_as(output)
            total = distortion(self._kind, output, self._image).sum()
        weight = tradeoff(self._qualities.fine_quality) * height * width
        gradient = torch.autograd.grad(total, [leaf])[0] * weight if slope else leaf
        bits = self._bits_of(coded.symbols, coded.indices).sum()
        return float(bits + weight * total), gradient

    def _moved(self, coded: _Coded, slope: Tensor, curvature: Tensor) -> Tensor:
        """Each symbol, moved by one where that lowers the objective; `[1, h, w, M]`.

        Args:
            coded: the symbols.
            slope: of the objective's distortion, in bits per quantisation step.
            curvature: likewise, in bits per squared step.
        """
        prior = self._network.prior
        value, bits = prior.reconstruct(coded.symbols, coded.indices), self._bits_of(coded.symbols, coded.indices)
        moved, best = coded.symbols, torch.zeros_like(slope)
        for step in (-1, 1):
            other = coded.symbols + step
            by = prior.reconstruct(other, coded.indices) - value
            change = slope * by + curvature / 2 * by.square() + self._bits_of(other, coded.indices) - bits
            moved, best = torch.where(change < best, other, moved), change.minimum(best)
        return moved

    def _bits_of(self, symbols: Tensor, indices: Tensor) -> Tensor:
        return torch.take(self._bits, indices.long() * SIZES + symbols.abs().clamp(max=SIZES - 1).long())


def _curvature(error: Tensor, slope: Tensor) -> Tensor:
    """Second derivative of the distortion by each latent `[1, h, w, M]`, from how slopes follow errors."""
    power, product = error.square(), slope * error
    tiny = 1e-9  # where there is no error there is no slope
    mean = product.sum() / power.sum().clamp(min=tiny)
    channel = product.sum((1, 2), keepdim=True) / power.sum((1, 2), keepdim=True).clamp(min=tiny)
    channel = torch.lerp(channel.maximum(LEAST_CURVATURE * mean), mean, EVENNESS).clamp(min=tiny)
    expected, found = _around((channel * power).sum(3, keepdim=True)), _around(product.sum(3, keepdim=True))
    prior = PRIOR * expected.mean() + tiny
    return channel * ((found + prior) / (expected + prior)).clamp(1 / MOST_LOCAL, MOST_LOCAL)


def _around(x: Tensor) -> Tensor:
    """Means over 3x3 positions of `[1, h, w, 1]`."""
    return F.avg_pool2d(x.permute(0, 3, 1, 2), 3, 1, 1, count_include_pad=False).permute(0, 2, 3, 1)


def _table_of_bits(network: Network) -> Tensor:
    """Bits of the symbols 0 .. SIZES - 1 of each scale index, float `[SCALES, SIZES]`."""
    device = network.prior.spread.device
    index = torch.arange(SCALES, device=device)[:, None].expand(-1, SIZES)
    table = network.prior.bits(torch.arange(float(SIZES), device=device).expand(SCALES, -1), index)
    table[0, 0], table[0, 1:] = 0.0, ESCAPE_BITS  # symbols of index 0 are not coded, others are escapes
    return table
