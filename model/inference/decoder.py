"""Sections of payloads to integers, and integers to pixels, tile by tile.

Parsing needs the integer path alone: the scale indices of a pass follow from z and the symbols of
the passes before. Means, latents and pixels are computed after all symbols are known, so that
floating-point numbers are in memory for a few tiles at a time.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.bitstream import escapes
from model.bitstream.coding_passes import PASSES, pass_of
from model.bitstream.container import Header, Tag
from model.bitstream.entropy_coder import EntropyCoder, Latents, expect_numbers
from model.bitstream.stream import StreamReader
from model.core.config import HYPER_STRIDE, LATENT_STRIDE
from model.core.reduction import reduced_size
from model.inference import reduced, window_coding
from model.inference.dequantising import latent_tile
from model.inference.device_copies import Arrivals, to_device
from model.inference.parallel import each
from model.inference.pixels import latent_size, planes_of
from model.inference.render import render
from model.inference.tile_walk import walk
from model.inference.tiling import Sides, TiledTensor, TileGrid, Window
from model.inference.window_coding import BatchQualities
from model.network.network import Network

Sections = dict[int, bytes]


class Decoder:
    """Decodes payloads of one size in latents."""

    def __init__(
        self,
        network: Network,
        coder: EntropyCoder,
        headers: Sequence[Header],
        device: torch.device,
        sides: Sides,
        parsing_side: int,
    ) -> None:
        """Nothing is decoded yet.

        Args:
            network: the model.
            coder: the model's.
            headers: of the payloads, all of one size in latents.
            device: where the network runs.
            sides: of the tiles.
            parsing_side: of the square tiles while symbols are parsed: a step of that is short, and cutting
                a small picture for several threads costs more than they save.
        """
        self._network = network
        self._coder = coder
        self._headers = headers
        self._device = device
        size = latent_size(headers[0].height, headers[0].width)
        self._grid, self._parsing_grid = TileGrid(*size, sides), TileGrid(*size, (parsing_side, parsing_side))
        self._qualities = BatchQualities.of(network, [header.fine_quality for header in headers], device)
        self._narrow: dict[Window, Tensor] = {}  # features of z in each tile: the same for all passes
        self._arrivals = Arrivals(device)

    def parse(self, sections: Sequence[Sections]) -> list[Latents]:
        """The integers that were encoded, without alpha, in order.

        Raises:
            DamagedPayload: when a payload is not exactly what was written.
        """
        config, grid = self._network.config, self._grid
        hyper = grid.whole.coarser(HYPER_STRIDE)
        readers = [StreamReader(s.get(Tag.STREAM, b"")) for s in sections]
        z = np.stack(
            [
                self._coder.read_hyper(reader, (*hyper.size, config.hyper_channels), header.quality)
                for header, reader in zip(self._headers, readers, strict=True)
            ]
        )
        shape = (*grid.whole.size, config.latent_channels)
        escaped = [escapes.read(s.get(Tag.ESCAPES, b""), math.prod(shape)) for s in sections]
        largest = max([self._coder.largest, *(int(np.abs(values).max(initial=0)) for _, values in escaped)])
        symbols = np.zeros((len(sections), *shape), np.int16 if largest < 1 << 15 else np.int32)
        indices = np.zeros(symbols.shape, np.uint8)
        tiles = list(self._parsing_grid.tiles())
        for number in range(PASSES):
            each(partial(self._indices, number, z, symbols, indices), tiles, self._device)
            self._arrivals.wait()
            for i, reader in enumerate(readers):
                self._coder.read_pass(reader, number, indices[i], symbols[i])
                positions, values = escaped[i]
                now = pass_of(positions, shape) == number
                self._coder.place_escapes(positions[now], values[now], indices[i], symbols[i])
        self._narrow.clear()
        for i, s in enumerate(sections):
            readers[i].expect_end()
            expect_numbers(s, z[i], symbols[i])
        return [Latents(header, z[i], symbols[i], indices[i]) for i, header in enumerate(self._headers)]

    def _indices(
        self,
        number: int,
        z: NDArray[np.int8],
        symbols: NDArray[np.int16] | NDArray[np.int32],
        indices: NDArray[np.uint8],
        tile: Window,
    ) -> None:
        """Write the scale indices of one pass in one tile, which must be zero before."""
        # A margin of 2 keeps the corner at even coordinates; the scale path reads one neighbour,
        # and none of z.
        outer = tile.grown(2, self._grid.whole)
        if tile not in self._narrow:
            hyper = outer.coarser(HYPER_STRIDE)
            position = outer.within(hyper.finer(HYPER_STRIDE))
            tensor = self._tensor(z[hyper.slices])
            self._narrow[tile] = window_coding.narrow_features(self._network, tensor, self._qualities, position)
        known = self._tensor(symbols[outer.slices])
        found = window_coding.scale_indices(self._network, number, self._narrow[tile], known, self._qualities)
        self._arrivals.fetch(found[tile.within(outer).slices], partial(_join, indices[tile.slices]))

    def render(self, latents: Sequence[Latents]) -> list[NDArray[np.uint8]]:
        """Pixels, uint8 `[H, W, 1 or 3]`, of integers that `parse` returned."""
        grid, qualities = self._grid, self._qualities
        latent = TiledTensor(grid, partial(latent_tile, self._network, latents, qualities, grid))
        planes = [np.empty((h.height, h.width, h.colour.planes), np.uint8) for h in self._headers]

        def render_tile(tile: Window) -> None:
            output = render(self._network, latent, grid, tile, qualities)
            self._arrivals.fetch(output, partial(self._keep, planes, tile.finer(LATENT_STRIDE)))

        for _ in walk(grid, render_tile, [latent], self._device):
            pass
        self._arrivals.wait()
        return planes

    def render_reduced(self, latents: Sequence[Latents], head: Tensor, denominator: int) -> list[NDArray[np.uint8]]:
        """Reduced pixels, uint8 `[ceil(H/d), ceil(W/d), 1 or 3]`, of integers that `parse` returned.

        Args:
            latents: from `parse`.
            head: of the model, for that denominator.
            denominator: d.
        """
        grid = self._grid
        latent = TiledTensor(grid, partial(latent_tile, self._network, latents, self._qualities, grid))
        sizes = [reduced_size(h.height, h.width, denominator) for h in self._headers]
        planes = [np.empty((*size, h.colour.planes), np.uint8) for size, h in zip(sizes, self._headers, strict=True)]

        def render_tile(tile: Window) -> None:
            outer = tile.grown(reduced.REACH, grid.whole)
            output = reduced.pixels(head, latent.window(outer), tile.within(outer))
            self._arrivals.fetch(output, partial(self._keep, planes, tile.finer(LATENT_STRIDE // denominator)))

        for _ in walk(grid, render_tile, [latent], self._device):
            pass
        self._arrivals.wait()
        return planes

    def _keep(self, planes: Sequence[NDArray[np.uint8]], area: Window, output: NDArray[np.uint8]) -> None:
        """Write the networks' output for a window of pixels to each picture's planes."""
        for i, header in enumerate(self._headers):
            part = planes[i][area.slices[1:]]
            part[:] = planes_of(output[i, : part.shape[0], : part.shape[1]], header.colour)

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return to_device(array, self._device)


def _join(indices: NDArray[np.uint8], found: NDArray[np.uint8]) -> None:
    """Add the scale indices of a pass to those of the others; each is 0 where others code."""
    indices |= found
