"""Quantisation, scale indices and reconstruction of a window of latents, given the hyper-latents around it.

The same layers as in `Network.forward`, arranged for coding: without gradients; each pass computed
only on its own sublattices; scale indices apart from means, so that a decoder can parse a whole
image by the integer path alone and reconstruct its latents afterwards, tile by tile. Each function
states the margin within which its result is not valid; callers pass a window that is larger by that
margin (`model.inference.tiling`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.bitstream.coding_passes import PASSES
from model.core.config import HYPER_STRIDE, CodecConfig
from model.entropy import elementwise
from model.entropy.elementwise import CodedWindow
from model.entropy.entropy_model import EntropyModel
from model.entropy.hyperprior import Means
from model.entropy.scale_path import ScalePath
from model.inference.device_copies import to_device
from model.inference.parallel import each
from model.inference.tiling import Window
from model.network.network import Network

CONTEXT_REACH = PASSES - 1
"""Receptive field of the passes: each but the first reads the neighbours of the passes before."""
HYPER_REACH = 3
"""Receptive field of the hyper-analysis: a block at 1/16 and one at 1/32."""
MEANS_REACH = 4
"""Receptive field of the means' features: a block at 1/32 and one at 1/16, at any alignment."""


def analysis_reach(config: CodecConfig) -> int:
    """Latents around a window that its analysis depends on."""
    fine, coarse = config.analysis_blocks
    return -(-fine // 2) + coarse


def synthesis_reach(config: CodecConfig) -> int:
    """Latents around a window that its reconstruction depends on."""
    coarse, fine = config.synthesis_blocks
    return coarse + -(-fine // 2)


def hyper_window(window: Window, whole: Window) -> Window:
    """The window of z, in units of z, that the means of a window depend on."""
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
        fine_quality = to_device(np.array(fine_qualities, np.float32), device)
        # Not in this thread: its exponential wakes the threads of MKL for any size, and in a program
        # that loaded torch first they spin for some ms.
        gain = each(network.gain, [fine_quality], device)[0]
        return cls(torch.floor(fine_quality).long(), fine_quality, gain)

    def of_image(self, number: int) -> "BatchQualities":
        """Those of one image of the batch."""
        one = slice(number, number + 1)
        return BatchQualities(self.quality[one], self.fine_quality[one], self.gain[one])


def entropy_model(network: Network) -> EntropyModel:
    """The network's prepared entropy model (`model.network.network.finalise`), or a new one if it has none."""
    return network.entropy_model or EntropyModel(network.means, network.scales, network.prior)


def quantise(network: Network, y: Tensor, z: Tensor, qualities: BatchQualities, window: Window) -> CodedWindow:
    """Round latents, pass by pass. Not valid in a margin of `CONTEXT_REACH`.

    Args:
        network: the model.
        y: latents of the window, `[B, h, w, M]`.
        z: hyper-latents around the window, integers `[B, zh, zw, Z]`.
        qualities: of the batch.
        window: position of y, in latents relative to the corner of z; its corner has even
            coordinates.
    """
    model = entropy_model(network)
    wide, narrow = _wide_features(model, network, z, qualities, window), narrow_features(network, z, qualities, window)
    y, coded = y.contiguous(), CodedWindow.nothing(y)
    for number, sublattices in enumerate(model.sublattices):
        of_means = model.mean_features(number, wide, coded.latent)
        of_scales = model.scale_features(number, narrow, coded.sizes, qualities.quality)
        sum_rows = model.sum_rows(number, qualities.quality)
        for sublattice in sublattices:
            mean, sums = model.means(number, sublattice, of_means), model.sums(number, sublattice, of_scales, sum_rows)
            elementwise.quantise(y, mean, sums, qualities.gain, model.tables, sublattice, coded)
    return coded


def narrow_features(network: Network, z: Tensor, qualities: BatchQualities, window: Window) -> Tensor:
    """Features of z for the scale indices of a window, bytes or float `[B, h, w, S]`; z needs no margin.

    Args:
        network: the model.
        z: hyper-latents around the window, integers `[B, zh, zw, Z]`.
        qualities: of the batch.
        window: in latents relative to the corner of z.
    """
    return entropy_model(network).narrow(_features(network.scales, z, qualities, window), qualities.quality)


def scale_indices(network: Network, number: int, narrow: Tensor, symbols: Tensor, qualities: BatchQualities) -> Tensor:
    """Scale indices of one pass, uint8 `[B, h, w, M]`, 0 where other passes code.

    Exact on every device. Not valid in a margin of 1.

    Args:
        network: the model.
        number: of the pass.
        narrow: from `narrow_features`, of a window whose corner has even coordinates.
        symbols: of the passes before, integers `[B, h, w, M]`, zero elsewhere.
        qualities: of the batch.
    """
    model = entropy_model(network)
    sizes = elementwise.sizes_of(symbols, model.tables) if number else None  # no symbol is known before the first pass
    features = model.scale_features(number, narrow, sizes, qualities.quality)
    indices = torch.zeros(symbols.shape, dtype=torch.uint8, device=symbols.device)
    sum_rows = model.sum_rows(number, qualities.quality)
    for sublattice in model.sublattices[number]:
        elementwise.scale_indices(model.sums(number, sublattice, features, sum_rows), sublattice, indices)
    return indices


def latents(
    network: Network, z: Tensor, symbols: Tensor, indices: Tensor, qualities: BatchQualities, window: Window
) -> Tensor:
    """Reconstruct latents `[B, h, w, M]` from symbols. Not valid in a margin of `CONTEXT_REACH`.

    Args:
        network: the model.
        z: hyper-latents around the window, integers `[B, zh, zw, Z]`.
        symbols: of all passes, integers `[B, h, w, M]`.
        indices: scale index of each, same shape.
        qualities: of the batch.
        window: position of the symbols, in latents relative to the corner of z; its corner has even
            coordinates.
    """
    model = entropy_model(network)
    wide = _wide_features(model, network, z, qualities, window)
    latent = torch.zeros(symbols.shape, device=symbols.device)
    for number, sublattices in enumerate(model.sublattices):
        features = model.mean_features(number, wide, latent)
        for sublattice in sublattices:
            mean = model.means(number, sublattice, features)
            elementwise.dequantise(symbols, indices, mean, qualities.gain, model.tables, sublattice, latent)
    return latent


def _wide_features(
    model: EntropyModel, network: Network, z: Tensor, qualities: BatchQualities, window: Window
) -> Tensor:
    """Features of z for the means of a window, `[B, h, w, W]`; without channels if no layer of the model reads them."""
    if model.reads_wide:
        return _features(network.means, z, qualities, window)
    return torch.empty(len(z), *window.size, 0, device=z.device)


def _features(part: Means | ScalePath, z: Tensor, qualities: BatchQualities, window: Window) -> Tensor:
    features: Tensor = part.features(z.to(torch.float32), qualities.quality)[window.slices]
    return features.contiguous()
