"""One encode of some pictures at given qualities: latents y to integers, tile by tile, and a measurement.

    y --hyper-analysis--> z --entropy model--> symbols, scale indices, latent --synthesis--> pixels --> errors

Each arrow is a method that computes one tile; `TiledTensor` asks for the tiles that a tile depends
on. A GPU is given all tiles before the host waits for any (`model.inference.device_copies`). With a
refinement, the entropy model is given refined latents, which are a second tiled tensor; its tiles
are always the same, so the result does not depend on those of the pass.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.bitstream.stream import Numbers
from model.core.config import HYPER_STRIDE, LATENT_STRIDE
from model.core.picture import Picture
from model.inference import refinement, window_coding
from model.inference.device_copies import Arrivals
from model.inference.device_error import Extents, squared_errors
from model.inference.pixels import colour_of, planes_of, to_network, window_of
from model.inference.refinement import Area, Refinement
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
LARGEST = (1 << 15) - 1
"""Largest absolute value of a symbol that is stored in 16 bits."""


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
        pixels: of the same pictures as y, as the networks take them.
        members: the rows of y that belong to `pictures`, int64; None for all of them.
        keeps_y: whether y stays in memory for the next pass; else tiles are dropped when no longer
            needed.
    """

    pictures: Sequence[Picture]
    y: TiledTensor
    pixels: TiledTensor
    members: Tensor | None
    keeps_y: bool

    def of_members(self, values: Tensor) -> Tensor:
        """The rows of `pictures` in a tensor that has those of y."""
        return values if self.members is None else values.index_select(0, self.members)


class QuantisationPass:
    """Quantises a batch once. Life: construct, `begin`, `result`, discard."""

    def __init__(
        self,
        network: Network,
        batch: Batch,
        grid: TileGrid,
        fine_qualities: Sequence[float],
        device: torch.device,
        arrivals: Arrivals,
        *,
        check: bool,
        also: Collection[Metric] = (),
        refine: Refinement | None = None,
    ) -> None:
        """Prepare the output arrays.

        Args:
            network: the model.
            batch: the pictures and their latents.
            grid: the tiles of y.
            fine_qualities: quality of each picture, with its fraction.
            device: where the network runs.
            arrivals: the way of the results to the host.
            check: also reconstruct what the decoder will output, and measure its PSNR.
            also: metrics of the whole picture to measure, too; needs `check`.
            refine: how to refine the latents before they are quantised; None: not at all.
        """
        self._network, self._batch, self._grid, self._device = network, batch, grid, device
        self._fine_qualities = fine_qualities
        self._arrivals = arrivals
        self._check, self._also = check, also
        self._qualities = BatchQualities.of(network, fine_qualities, device)
        shape = (len(batch.pictures), *grid.whole.size, network.config.latent_channels)
        self._symbols: Numbers = np.zeros(shape, np.int16)
        self._indices = np.zeros(shape, np.uint8)
        self._lock = Lock()
        self._largest = 0
        self._errors = np.zeros(len(batch.pictures), np.int64)
        self._z = TiledTensor(grid, self._hyper_tile, HYPER_STRIDE)
        self._found_z = np.empty(0, np.int8)
        self._refine = refine
        self._refined = TiledTensor(
            TileGrid(*grid.whole.size, (refinement.BLOCK, refinement.BLOCK)), self._refined_block
        )
        self._latent = TiledTensor(grid, self._latent_tile)
        self._outputs = [np.empty_like(p.pixels) for p in batch.pictures] if also else []

    def begin(self) -> None:
        """Compute everything; what runs on a GPU has only begun."""
        temporary = [self._latent, self._refined, self._batch.pixels]
        if not self._batch.keeps_y:
            temporary.append(self._batch.y)
        for _ in walk(self._grid, self._process, temporary, self._device):
            pass
        all_of_z = self._grid.whole.coarser(HYPER_STRIDE).finer(HYPER_STRIDE)
        self._arrivals.fetch(self._z.window(all_of_z).to(torch.int8), self._keep_z)

    def result(self) -> list[Quantised]:
        """Integers and measurements of each picture, in order."""
        self._arrivals.wait()
        if self._largest > LARGEST and self._symbols.dtype == np.int16:
            self._symbols = self._symbols.astype(np.int32)
            self._errors[:] = 0
            self._latent = TiledTensor(self._grid, self._latent_tile)
            self.begin()
            self._arrivals.wait()
        return [
            Quantised(
                fine_quality,
                self._found_z[i],
                self._symbols[i],
                self._indices[i],
                to_psnr(int(self._errors[i]), picture.pixels.size) if self._check else None,
                ms_ssim(picture.pixels, self._outputs[i]) if "ms_ssim" in self._also else None,
                ssimulacra2(picture.pixels, self._outputs[i]) if "ssimulacra2" in self._also else None,
            )
            for i, (fine_quality, picture) in enumerate(zip(self._fine_qualities, self._batch.pictures, strict=True))
        ]

    def _process(self, tile: Window) -> None:
        """Quantise a tile, and measure its reconstruction if that is wanted."""
        if not self._check:
            self._latent.tile(tile)
            return
        output = render(self._network, self._latent, self._grid, tile, self._qualities)
        if self._device.type == "cpu":
            self._measure(tile, output.numpy())
            return
        original = self._batch.of_members(self._batch.pixels.tile(tile))
        self._arrivals.fetch(squared_errors(original, output, self._extents, tile), self._add_errors)
        if self._also:
            self._arrivals.fetch(output, partial(self._keep_output, tile))

    @cached_property
    def _extents(self) -> Extents:
        return Extents.of(self._batch.pictures, self._device)

    def _measure(self, tile: Window, output: NDArray[np.uint8]) -> None:
        """Squared error of each picture in a tile; keep the output if other metrics are wanted."""
        parts = self._keep_output(tile, output)
        area = tile.finer(LATENT_STRIDE).slices[1:]
        pictures = self._batch.pictures
        self._add_errors(
            np.array([squared_error(p.pixels[area], part) for p, part in zip(pictures, parts, strict=True)])
        )

    def _keep_output(self, tile: Window, output: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """The planes of each picture in a tile; they are kept if other metrics are wanted."""
        area = tile.finer(LATENT_STRIDE)
        parts = []
        for i, picture in enumerate(self._batch.pictures):
            height, width = min(area.bottom, picture.height) - area.top, min(area.right, picture.width) - area.left
            parts.append(planes_of(output[i, :height, :width], colour_of(picture)))
            if self._outputs:
                self._outputs[i][area.slices[1:]] = parts[-1]
        return parts

    def _add_errors(self, errors: NDArray[np.int64]) -> None:
        with self._lock:
            self._errors += errors

    def _hyper_tile(self, tile: Window) -> Tensor:
        """Hyper-latents z of a tile, integers in float32."""
        margin = -(-window_coding.HYPER_REACH // HYPER_STRIDE) * HYPER_STRIDE
        outer = tile.grown(margin, self._grid.whole)
        qualities = self._qualities
        y = self._batch.of_members(self._batch.y.window(outer))
        z = self._network.hyper_latent(y, qualities.quality, qualities.fine_quality)
        return z[tile.coarser(HYPER_STRIDE).within(outer.coarser(HYPER_STRIDE)).slices]

    def _latent_tile(self, tile: Window) -> Tensor:
        """Quantise a tile, store its integers, and return the latents that the decoder will see."""
        outer = tile.grown(window_coding.CONTEXT_REACH, self._grid.whole)
        z, position = self._hyper_window(outer)
        y = self._refined.window(outer) if self._refine else self._batch.of_members(self._batch.y.window(outer))
        coded = window_coding.quantise(self._network, y, z, self._qualities, position)
        inner = tile.within(outer).slices
        symbols = coded.symbols[inner]
        # Asking for the largest now would stop the host until a GPU knows it.
        self._arrivals.fetch(symbols.abs().amax(), self._keep_largest)
        if self._device.type != "cpu" and self._symbols.dtype == np.int16:
            symbols = symbols.to(torch.int16)
        self._arrivals.fetch(symbols, partial(self._keep, self._symbols, tile))
        self._arrivals.fetch(coded.indices[inner], partial(self._keep, self._indices, tile))
        return coded.latent[inner]

    def _hyper_window(self, window: Window) -> tuple[Tensor, Window]:
        """The hyper-latents that a window is coded with, and its position in latents relative to their corner."""
        around = window_coding.hyper_window(window, self._grid.whole).finer(HYPER_STRIDE)
        return self._z.window(around), window.within(around)

    def _refined_block(self, block: Window) -> Tensor:
        """Refined latents of a block of the pictures, one picture after the other: each as it would be alone."""
        assert self._refine is not None
        outer = block.grown(refinement.HALO, self._grid.whole)
        y = self._batch.of_members(self._batch.y.window(outer))
        z, position = self._hyper_window(outer)
        made = []
        for i, picture in enumerate(self._batch.pictures):
            one = slice(i, i + 1)
            image = to_network([window_of(picture, outer, padded=False)], self._device)
            area = Area(image, picture.pixels.shape[2] == 1, y[one], z[one], self._qualities.of_image(i), position)
            made.append(refinement.refined(self._network, area, self._refine))
        return torch.cat(made)[block.within(outer).slices]

    def _keep(self, to: NDArray[Any], tile: Window, values: NDArray[Any]) -> None:
        np.copyto(to[tile.slices], values, casting="unsafe")

    def _keep_z(self, values: NDArray[np.int8]) -> None:
        self._found_z = values

    def _keep_largest(self, value: NDArray[np.int32]) -> None:
        with self._lock:
            self._largest = max(self._largest, int(value))
