"""What encoder and decoder compute of a window of latents, given z of what lies around it.

The same layers as in `Network.forward`, arranged for coding: without gradients, each pass computed at its own places
only, and apart, so that a decoder can parse a whole image by the integer path alone and make its latents afterwards,
tile by tile. Each function says how far it reaches beyond what it gives; whoever calls gives it so much more
(`model.tiling`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import HYPER_STRIDE, CodecConfig
from model.hyperprior import MeanContext, Means
from model.network import Network
from model.passes import PASSES, lattice
from model.rounding import thresholds, to_symbols
from model.scale_path import ScaleContext, ScalePath, to_index
from model.tiling import Window

CONTEXT_REACH = PASSES - 1
"""Each pass but the first looks at the neighbours of those before."""
HYPER_REACH = 3
"""Hyper-analysis: a block at 1/16 and one at 1/32."""
MEANS_REACH = 4
"""The features that means are predicted from: a block at 1/32 and one at 1/16, begun at any place."""


def analysis_reach(config: CodecConfig) -> int:
    """Latents around a window that its analysis depends on."""
    fine, coarse = config.analysis_blocks
    return -(-fine // 2) + coarse


def synthesis_reach(config: CodecConfig) -> int:
    """Latents around a window that its reconstruction depends on."""
    coarse, fine = config.synthesis_blocks
    return coarse + -(-fine // 2)


def zone_of_means(window: Window, whole: Window) -> Window:
    """The part of z, in its own units, that the means of a window depend on."""
    return window.grown(MEANS_REACH, whole).coarser(HYPER_STRIDE)


Place = tuple[slice, slice, slice, slice]


def places(number: int) -> list[Place]:
    """Slices of `[B, h, w, M]` that a pass codes."""
    every = slice(None)
    return [(every, slice(a, None, 2), slice(b, None, 2), slice(g, None, 4)) for a, b, g in lattice(number)]


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """Quality of each image of a batch, made once for all of its tiles.

    `quality`: integers `[B]`. `step`: with its fraction, float `[B]`. `gain`: quantisation steps a unit of y, float
    `[B, 1, 1, M]`. `limits`: where the encoder rounds up, float `[SCALES, 2]` (`model.rounding`).
    """

    quality: Tensor
    step: Tensor
    gain: Tensor
    limits: Tensor

    @classmethod
    def of(cls, network: Network, steps: Sequence[float], device: torch.device) -> "Rows":
        """Rows of qualities with their fractions, `[B]`."""
        step = torch.tensor(steps, dtype=torch.float32, device=device)
        return cls(torch.floor(step).long(), step, network.gain(step), thresholds(network.prior.costs()))


@dataclass(frozen=True, eq=False, slots=True)
class Quantised:
    """Of a window, each `[B, h, w, M]` in float32: whole numbers, and the latents that they stand for."""

    symbols: Tensor
    indices: Tensor
    latent: Tensor


def quantise(network: Network, y: Tensor, z: Tensor, rows: Rows, window: Window) -> Quantised:
    """Round latents, pass by pass. Right but for a margin of `CONTEXT_REACH`.

    Args:
        network: the model.
        y: latents of the window, `[B, h, w, M]`.
        z: hyper-latents around the window, whole numbers `[B, zh, zw, Z]`.
        rows: the qualities.
        window: where y is, in latents from the corner of z; it begins at even places.
    """
    wide, narrow = _features(network.means, z, rows, window), _features(network.scales, z, rows, window)
    symbols, indices, latent = torch.zeros_like(y), torch.zeros_like(y), torch.zeros_like(y)
    for number in range(PASSES):
        means, scales = _Means(network, number, wide, latent), _Scales(network, number, narrow, symbols, rows)
        for place in places(number):
            gain = rows.gain[..., place[-1]]
            mean, index = means.at(place), scales.at(place)
            fresh = to_symbols((y[place] - mean).mul_(gain), index, rows.limits)
            symbols[place], indices[place] = fresh, index
            latent[place] = network.prior.reconstruct(fresh, index).div_(gain).add_(mean)
    return Quantised(symbols, indices, latent)


def scale_indices(network: Network, number: int, z: Tensor, symbols: Tensor, rows: Rows, window: Window) -> Tensor:
    """Scale indices of one pass, whole numbers 0..63 `[B, h, w, M]` in float32; only that pass's places mean anything.

    Exact on every device. Right but for a margin of 1, of z none.

    Args:
        network: the model.
        number: of the pass.
        z: hyper-latents around the window, whole numbers `[B, zh, zw, Z]`.
        symbols: of the passes before, whole numbers `[B, h, w, M]`, zero elsewhere.
        rows: the qualities.
        window: where the symbols are, in latents from the corner of z.
    """
    scales = _Scales(network, number, _features(network.scales, z, rows, window), symbols.to(torch.float32), rows)
    indices = torch.zeros(symbols.shape, dtype=torch.uint8, device=symbols.device)
    for place in places(number):
        indices[place] = scales.at(place).to(torch.uint8)
    return indices


def latents(network: Network, z: Tensor, symbols: Tensor, indices: Tensor, rows: Rows, window: Window) -> Tensor:
    """The latents that whole numbers stand for, `[B, h, w, M]`. Right but for a margin of `CONTEXT_REACH`.

    Args:
        network: the model.
        z: hyper-latents around the window, whole numbers `[B, zh, zw, Z]`.
        symbols: of all passes, whole numbers `[B, h, w, M]`.
        indices: scale index of each, same shape.
        rows: the qualities.
        window: where they are, in latents from the corner of z; it begins at even places.
    """
    wide = _features(network.means, z, rows, window)
    latent = torch.zeros(symbols.shape, device=symbols.device)
    for number in range(PASSES):
        means = _Means(network, number, wide, latent)
        for place in places(number):
            index = indices[place].to(torch.float32)
            moved = network.prior.reconstruct(symbols[place].to(torch.float32), index)
            latent[place] = moved.div_(rows.gain[..., place[-1]]).add_(means.at(place))
    return latent


def _features(part: Means | ScalePath, z: Tensor, rows: Rows, window: Window) -> Tensor:
    features: Tensor = part.features(z.to(torch.float32), rows.quality)[window.slices]
    return features


class _Means:
    """Means of one pass, at the places that it codes."""

    def __init__(self, network: Network, number: int, wide: Tensor, latent: Tensor) -> None:
        self._layer, self._hidden = network.means.first, wide
        if number:
            context = network.means.later[number - 1]
            assert isinstance(context, MeanContext)
            self._layer, self._hidden = context.out, context.hidden(wide, latent)

    def at(self, place: Place) -> Tensor:
        layer = self._layer
        return F.linear(self._hidden[place[:3]], layer.weight[place[3]], layer.bias[place[3]])


class _Scales:
    """Scale indices of one pass, at the places that it codes."""

    def __init__(self, network: Network, number: int, narrow: Tensor, symbols: Tensor, rows: Rows) -> None:
        self._quality = rows.quality
        self._layer, self._hidden = network.scales.out, narrow
        if number:
            context = network.scales.later[number - 1]
            assert isinstance(context, ScaleContext)
            self._layer, self._hidden = context.out, context.hidden(narrow, symbols, rows.quality)

    def at(self, place: Place) -> Tensor:
        return to_index(self._layer(self._hidden[place[:3]], self._quality, place[3]))
