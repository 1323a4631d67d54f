"""What encoder and decoder compute of a window of latents, given z of what lies around it.

The same layers as in `Network.forward`, arranged for coding: without gradients, each pass computed at its own places
only, and apart, so that a decoder can parse a whole image by the integer path alone and make its latents afterwards,
tile by tile. Each function says how far it reaches beyond what it gives; whoever calls gives it so much more
(`model.inference.tiling`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.bitstream.coding_passes import PASSES
from model.core.config import HYPER_STRIDE, CodecConfig
from model.entropy import elementwise
from model.entropy.elementwise import CodedWindow
from model.entropy.entropy_model import EntropyModel
from model.entropy.hyperprior import Means
from model.entropy.scale_path import ScalePath
from model.inference.tiling import Window
from model.network.network import Network

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


def hyper_window(window: Window, whole: Window) -> Window:
    """The part of z, in its own units, that the means of a window depend on."""
    return window.grown(MEANS_REACH, whole).coarser(HYPER_STRIDE)


@dataclass(frozen=True, eq=False, slots=True)
class BatchQualities:
    """Quality of each image of a batch, computed once for all of its tiles.

    Attributes:
        quality: integers `[B]`, the rows of the networks.
        fine_quality: the same with its fraction, float `[B]`, from which the gain is computed.
        gain: quantisation steps per unit of y, float `[B, 1, 1, M]`.
    """

    quality: Tensor
    fine_quality: Tensor
    gain: Tensor

    @classmethod
    def of(cls, network: Network, fine_qualities: Sequence[float], device: torch.device) -> "BatchQualities":
        """Of qualities with their fractions, `[B]`."""
        fine_quality = torch.tensor(fine_qualities, dtype=torch.float32, device=device)
        return cls(torch.floor(fine_quality).long(), fine_quality, network.gain(fine_quality))


def entropy_model(network: Network) -> EntropyModel:
    """The network's, made ready if its weights are final (`model.network.network.finalise`), or else now."""
    return network.entropy_model or EntropyModel(network.means, network.scales, network.prior)


def quantise(network: Network, y: Tensor, z: Tensor, rows: BatchQualities, window: Window) -> CodedWindow:
    """Round latents, pass by pass. Right but for a margin of `CONTEXT_REACH`.

    Args:
        network: the model.
        y: latents of the window, `[B, h, w, M]`.
        z: hyper-latents around the window, whole numbers `[B, zh, zw, Z]`.
        rows: the qualities.
        window: where y is, in latents from the corner of z; it begins at even places.
    """
    model = entropy_model(network)
    wide, narrow = _features(network.means, z, rows, window), _features(network.scales, z, rows, window)
    y, coded = y.contiguous(), CodedWindow.nothing(y)
    for number, places in enumerate(model.places):
        of_means = model.mean_features(number, wide, coded.latent)
        of_scales = model.scale_features(number, narrow, coded.sizes, rows.quality)
        sum_rows = model.sum_rows(number, rows.quality)
        for place in places:
            mean, sums = model.means(number, place, of_means), model.sums(number, place, of_scales, sum_rows)
            elementwise.quantise(y, mean, sums, rows.gain, model.tables, place, coded)
    return coded


def scale_indices(
    network: Network, number: int, z: Tensor, symbols: Tensor, rows: BatchQualities, window: Window
) -> Tensor:
    """Scale indices of one pass, uint8 `[B, h, w, M]`, 0 at the places of other passes.

    Exact on every device. Right but for a margin of 1, of z none.

    Args:
        network: the model.
        number: of the pass.
        z: hyper-latents around the window, whole numbers `[B, zh, zw, Z]`.
        symbols: of the passes before, whole numbers `[B, h, w, M]`, zero elsewhere.
        rows: the qualities.
        window: where the symbols are, in latents from the corner of z; it begins at even places.
    """
    model = entropy_model(network)
    narrow = _features(network.scales, z, rows, window)
    sizes = elementwise.sizes_of(symbols, model.tables) if number else None  # nothing is known before the first pass
    features = model.scale_features(number, narrow, sizes, rows.quality)
    indices = torch.zeros(symbols.shape, dtype=torch.uint8, device=symbols.device)
    sum_rows = model.sum_rows(number, rows.quality)
    for place in model.places[number]:
        elementwise.scale_indices(model.sums(number, place, features, sum_rows), place, indices)
    return indices


def latents(
    network: Network, z: Tensor, symbols: Tensor, indices: Tensor, rows: BatchQualities, window: Window
) -> Tensor:
    """The latents that whole numbers stand for, `[B, h, w, M]`. Right but for a margin of `CONTEXT_REACH`.

    Args:
        network: the model.
        z: hyper-latents around the window, whole numbers `[B, zh, zw, Z]`.
        symbols: of all passes, whole numbers `[B, h, w, M]`.
        indices: scale index of each, same shape.
        rows: the qualities.
        window: where they are, in latents from the corner of z; it begins at even places.
    """
    model = entropy_model(network)
    wide = _features(network.means, z, rows, window)
    latent = torch.zeros(symbols.shape, device=symbols.device)
    for number, places in enumerate(model.places):
        features = model.mean_features(number, wide, latent)
        for place in places:
            mean = model.means(number, place, features)
            elementwise.dequantise(symbols, indices, mean, rows.gain, model.tables, place, latent)
    return latent


def _features(part: Means | ScalePath, z: Tensor, rows: BatchQualities, window: Window) -> Tensor:
    features: Tensor = part.features(z.to(torch.float32), rows.quality)[window.slices]
    return features.contiguous()
