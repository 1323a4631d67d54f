"""Symbols to latents, the input of the synthesis and of learning from latents."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.bitstream.entropy_coder import Latents
from model.core.config import HYPER_STRIDE
from model.inference import window_coding
from model.inference.device_copies import to_device
from model.inference.pixels import latent_size
from model.inference.tiling import Sides, TileGrid, Window
from model.inference.window_coding import BatchQualities
from model.network.network import Network


def latent_tile(
    network: Network, numbers: Sequence[Latents], qualities: BatchQualities, grid: TileGrid, tile: Window
) -> Tensor:
    """Latents of a tile, float32 `[B, h, w, M]`, on the device of `qualities`.

    Args:
        network: the model.
        numbers: of pictures of one size in latents.
        qualities: of the same pictures.
        grid: the tiles of that size.
        tile: one of them.
    """
    outer = tile.grown(window_coding.CONTEXT_REACH, grid.whole)
    hyper = window_coding.hyper_window(outer, grid.whole)

    def stacked(parts: list[NDArray[np.generic]]) -> Tensor:
        return to_device(np.stack(parts), qualities.gain.device)

    found = window_coding.latents(
        network,
        stacked([x.z[hyper.slices[1:]] for x in numbers]),
        stacked([x.symbols[outer.slices[1:]] for x in numbers]),
        stacked([x.indices[outer.slices[1:]] for x in numbers]),
        qualities,
        outer.within(hyper.finer(HYPER_STRIDE)),
    )
    return found[tile.within(outer).slices]


@torch.inference_mode()
def dequantised(
    network: Network, numbers: Sequence[Latents], device: torch.device, sides: Sides
) -> list[NDArray[np.float32]]:
    """Latents y in the units of the analysis transform, float32 `[h, w, M]` each, in order.

    Args:
        network: the model.
        numbers: of pictures of one size in latents, as the payloads hold them.
        device: where the network is.
        sides: of the tiles; the result does not depend on them.
    """
    header = numbers[0].header
    grid = TileGrid(*latent_size(header.height, header.width), sides)
    qualities = BatchQualities.of(network, [x.header.fine_quality for x in numbers], device)
    out = np.empty((len(numbers), *numbers[0].symbols.shape), np.float32)
    for tile in grid.tiles():
        out[tile.slices] = latent_tile(network, numbers, qualities, grid, tile).cpu().numpy()
    return list(out)
