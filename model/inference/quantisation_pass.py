"""One encode of some pictures at given qualities: latents y to integers, tile by tile, and a measurement.

    y --hyper-analysis--> z --entropy model--> symbols, scale indices, latent --synthesis--> pixels --> errors

Each arrow is a method that computes one tile; `TiledTensor` asks for the tiles that a tile depends
on.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.bitstream.stream import Numbers
from model.core.config import HYPER_STRIDE, LATENT_STRIDE
from model.core.picture import Picture
from model.inference import window_coding
from model.inference.pixels import colour_of, planes_of
from model.inference.render import render
from model.inference.tile_walk import walk
from model.inference.tiling import TiledTensor, TileGrid, Window
from model.inference.window_coding import BatchQualities
from model.metrics.ms_ssim import ms_ssim
from model.metrics.psnr import squared_error, to_psnr
from model.metrics.ssimulacra2 import ssimulacra2
from model.network.network import Network

Metric = Literal["ms_ssim", "ssimulacra2"]
"""A metric of the whole picture, measured on request."""


@dataclass(frozen=True, eq=False, slots=True)
class Quantised:
    """A picture's integers at one quality.

    Attributes:
        fine_quality: quality with its fraction.
        z: hyper-latents, int8 `[ceil(h/4), ceil(w/4), Z]`.
        symbols: int16, or int32 where int16 is too small, `[h, w, M]`.
        indices: scale indices, uint8 `[h, w, M]`.
        psnr: of what the decoder will output, in dB, if it was measured.
        ms_ssim: of the same, if it was measured.
        ssimulacra2: of the same, if it was measured.
    """

    fine_quality: float
    z: NDArray[np.int8]
    symbols: Numbers
    indices: NDArray[np.uint8]
    psnr: float | None
    ms_ssim: float | None
    ssimulacra2: float | None


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Pictures of one size in latents, and their latents.

    Attributes:
        pictures: those to encode.
        y: latents of these, or of more pictures.
        members: the rows of y that belong to `pictures`; None for all of them.
        keeps_y: whether y stays in memory for the next pass; else tiles are dropped when no longer
            needed.
    """

    pictures: Sequence[Picture]
    y: TiledTensor
    members: list[int] | None
    keeps_y: bool

    def window(self, window: Window) -> Tensor:
        """Latents of the pictures in a window, `[B, h, w, M]`."""
        values = self.y.window(window)
        return values if self.members is None else values[self.members]


class QuantisationPass:
    """Quantises a batch once. Life: construct, `run`, discard."""

    def __init__(
        self,
        network: Network,
        batch: Batch,
        grid: TileGrid,
        fine_qualities: Sequence[float],
        device: torch.device,
        *,
        check: bool,
        also: Collection[Metric] = (),
    ) -> None:
        """Prepare the output arrays.

        Args:
            network: the model.
            batch: the pictures and their latents.
            grid: the tiles of y.
            fine_qualities: quality of each picture, with its fraction.
            device: where the network runs.
            check: also reconstruct what the decoder will output, and measure its PSNR.
            also: metrics of the whole picture to measure, too; needs `check`.
        """
        self._network, self._batch, self._grid, self._device = network, batch, grid, device
        self._fine_qualities = fine_qualities
        self._check, self._also = check, also
        self._qualities = BatchQualities.of(network, fine_qualities, device)
        shape = (len(batch.pictures), *grid.whole.size, network.config.latent_channels)
        self._symbols: Numbers = np.zeros(shape, np.int16)
        self._widening = Lock()
        self._indices = np.zeros(shape, np.uint8)
        self._z = TiledTensor(grid, self._hyper_tile, HYPER_STRIDE)
        self._latent = TiledTensor(grid, self._latent_tile)
        self._outputs = [np.empty_like(p.pixels) for p in batch.pictures] if also else []

    def run(self) -> list[Quantised]:
        """Integers and measurements of each picture, in order."""
        temporary = [self._latent] if self._batch.keeps_y else [self._latent, self._batch.y]
        errors = [0] * len(self._batch.pictures)
        for tile_errors in walk(self._grid, self._process, temporary, self._device):
            errors = [a + b for a, b in zip(errors, tile_errors, strict=True)]
        all_of_z = self._grid.whole.coarser(HYPER_STRIDE).finer(HYPER_STRIDE)
        z = self._z.window(all_of_z).to(torch.int8).cpu().numpy()
        return [
            Quantised(
                fine_quality,
                z[i],
                self._symbols[i],
                self._indices[i],
                to_psnr(errors[i], picture.pixels.size) if self._check else None,
                ms_ssim(picture.pixels, self._outputs[i]) if "ms_ssim" in self._also else None,
                ssimulacra2(picture.pixels, self._outputs[i]) if "ssimulacra2" in self._also else None,
            )
            for i, (fine_quality, picture) in enumerate(zip(self._fine_qualities, self._batch.pictures, strict=True))
        ]

    def _process(self, tile: Window) -> list[int]:
        """Quantise a tile; squared error of each picture in it, 0 where it is not measured."""
        if self._check:
            return self._measure(tile)
        self._latent.tile(tile)
        return [0] * len(self._batch.pictures)

    def _measure(self, tile: Window) -> list[int]:
        """Reconstruct a tile as the decoder will; squared error of each picture in it."""
        output = render(self._network, self._latent, self._grid, tile, self._qualities)
        area = tile.finer(LATENT_STRIDE).slices[1:]
        errors = []
        for i, picture in enumerate(self._batch.pictures):
            original = picture.pixels[area]
            planes = planes_of(output[i, : original.shape[0], : original.shape[1]], colour_of(picture))
            errors.append(squared_error(original, planes))
            if self._outputs:
                self._outputs[i][area] = planes
        return errors

    def _hyper_tile(self, tile: Window) -> Tensor:
        """Hyper-latents z of a tile, integers in float32."""
        margin = -(-window_coding.HYPER_REACH // HYPER_STRIDE) * HYPER_STRIDE
        outer = tile.grown(margin, self._grid.whole)
        qualities = self._qualities
        z = self._network.hyper_latent(self._batch.window(outer), qualities.quality, qualities.fine_quality)
        return z[tile.coarser(HYPER_STRIDE).within(outer.coarser(HYPER_STRIDE)).slices]

    def _latent_tile(self, tile: Window) -> Tensor:
        """Quantise a tile, store its integers, and return the latents that the decoder will see."""
        outer = tile.grown(window_coding.CONTEXT_REACH, self._grid.whole)
        hyper = window_coding.hyper_window(outer, self._grid.whole)
        z = self._z.window(hyper.finer(HYPER_STRIDE))
        position = outer.within(hyper.finer(HYPER_STRIDE))
        coded = window_coding.quantise(self._network, self._batch.window(outer), z, self._qualities, position)
        inner = tile.within(outer).slices
        self._store_symbols(tile, coded.symbols[inner])
        self._indices[tile.slices] = coded.indices[inner].cpu().numpy()
        return coded.latent[inner]

    def _store_symbols(self, tile: Window, symbols: Tensor) -> None:
        """Copy a tile's symbols; the array becomes int32 at the first symbol that int16 cannot hold."""
        with self._widening:  # no thread may write to an array that another is about to replace
            if self._symbols.dtype == np.int16 and int(symbols.abs().amax()) >= 1 << 15:
                self._symbols = self._symbols.astype(np.int32)
            self._symbols[tile.slices] = symbols.cpu().numpy()
