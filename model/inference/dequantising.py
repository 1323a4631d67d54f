"""Whole numbers to the latents that they stand for, without the synthesis: what learning from latents reads."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from model.bitstream.entropy_coder import Latents
from model.core.config import HYPER_STRIDE
from model.inference import window_coding
from model.inference.pixels import latent_size
from model.inference.tiling import TileGrid, Window
from model.inference.window_coding import BatchQualities
from model.network.network import Network


@torch.inference_mode()
def dequantised(
    network: Network, numbers: Sequence[Latents], device: torch.device, side: int
) -> list[NDArray[np.float32]]:
    """Latents y in the units of the analysis transform, float32 `[h, w, M]` each, in order.

    Args:
        network: the model.
        numbers: of pictures of one size in latents, as the payloads hold them.
        device: where the network is.
        side: of the tiles that large pictures are worked on in, a multiple of 4; the result does not depend on it.
    """
    header = numbers[0].header
    grid = TileGrid(*latent_size(header.height, header.width), side)
    rows = BatchQualities.of(network, [x.header.fine_quality for x in numbers], device)
    out = np.empty((len(numbers), *numbers[0].symbols.shape), np.float32)
    for tile in grid.tiles():
        outer = tile.grown(window_coding.CONTEXT_REACH, grid.whole)
        zone = window_coding.zone_of_means(outer, grid.whole)

        def stacked(name: str, window: Window) -> torch.Tensor:
            parts = [getattr(x, name)[window.slices[1:]] for x in numbers]
            return torch.from_numpy(np.stack(parts)).to(device)

        found = window_coding.latents(
            network,
            stacked("z", zone),
            stacked("symbols", outer),
            stacked("indices", outer),
            rows,
            outer.within(zone.finer(HYPER_STRIDE)),
        )
        out[tile.slices] = found[tile.within(outer).slices].cpu().numpy()
    return list(out)
