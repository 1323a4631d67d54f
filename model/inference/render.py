"""Latents to 8-bit pixels of a tile: the last step of the decoder, and of an encoder that measures its result."""

from torch import Tensor

from model.inference.tiling import TiledTensor, TileGrid, Window
from model.inference.window_coding import BatchQualities, synthesis_reach
from model.network.network import Network


def render(network: Network, latent: TiledTensor, grid: TileGrid, tile: Window, qualities: BatchQualities) -> Tensor:
    """Pixels of a tile, uint8 RGB `[B, 16 h, 16 w, 3]`, on the network's device."""
    outer = tile.grown(synthesis_reach(network.config), grid.whole)
    return network.synthesise(latent.window(outer), qualities.quality, tile.surplus_of(outer))
