"""Pictures to whole numbers, tile by tile.

The analysis transform serves all qualities, so its latents y are made once; `press` may then be called for one quality
after the other. For images of many tiles y is dropped behind the walk and made again when it is asked for again:
memory holds 8-bit pixels, whole numbers, and floating-point numbers of a few lines of tiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.core.config import HYPER_STRIDE, LATENT_STRIDE
from model.core.picture import Picture
from model.inference import window_coding
from model.inference.latent_sample import LatentSample
from model.inference.parallel import each, pieces_at_once
from model.inference.pixels import colour_of, latent_size, planes_of, to_network, window_of
from model.inference.projection_error import leftover
from model.inference.render import render
from model.inference.tiling import TiledTensor, TileGrid, Window
from model.inference.window_coding import BatchQualities
from model.metrics.ms_ssim import ms_ssim
from model.metrics.psnr import squared_error, to_psnr
from model.network.network import Network

KEPT_LATENTS = 1 << 26
"""Most values of y (256 MB, of an image of 54 megapixels at 320 channels) that are kept for the next quality."""
_CPU = torch.device("cpu")
Symbols = NDArray[np.int16] | NDArray[np.int32]


@dataclass(frozen=True, eq=False, slots=True)
class Quantised:
    """A picture at one quality.

    Attributes:
        step: quality with its fraction.
        z: int8 `[h/4, w/4, Z]`, rounded up.
        symbols: int16, or int32 where that is too small, `[h, w, M]`.
        indices: uint8 `[h, w, M]`.
        psnr: dB of what the decoder will output, if it was measured.
        ms_ssim: of the same, if it was measured.
    """

    step: float
    z: NDArray[np.int8]
    symbols: Symbols
    indices: NDArray[np.uint8]
    psnr: float | None
    ms_ssim: float | None


class Encoder:
    """Pictures of one size in latents.

    Attributes:
        pictures: as they were given.
    """

    def __init__(self, network: Network, pictures: Sequence[Picture], device: torch.device, side: int) -> None:
        self.pictures = pictures
        self._network = network
        self._device = device
        self._grid = TileGrid(*latent_size(pictures[0].height, pictures[0].width), side)
        self._y = TiledTensor(self._grid, self._analyse)
        height, width = self._grid.whole.size
        self._keeps = len(pictures) * height * width * network.config.latent_channels <= KEPT_LATENTS

    def sample(self, positions: int) -> list[LatentSample]:
        """So many positions all over the image (if it is large, over a tile in the middle), of each picture."""
        middle = self._grid.bands[len(self._grid.bands) // 2]
        area = self._grid.whole if self._keeps else middle[len(middle) // 2]
        each(self._y.tile, list(self._grid.touching(area)), self._device)
        places = area.spread(positions)
        latents = torch.cat([self._y.window(place) for place in places], dim=1).flatten(1, 2).cpu().numpy()
        pixels = (to_network([window_of(p, place) for place in places], _CPU) for p in self.pictures)
        return [
            LatentSample(y, leftover(x, self._network.config).numpy()) for y, x in zip(latents, pixels, strict=True)
        ]

    def quantise(
        self, members: Sequence[int], steps: Sequence[float], *, check: bool, similarity: bool = False
    ) -> list[Quantised]:
        """Quantise some of the pictures.

        Args:
            members: which of the pictures.
            steps: quality of each, with its fraction.
            check: also reconstruct what the decoder will output, and measure its PSNR.
            similarity: measure MS-SSIM, too; needs `check`.
        """
        grid, pictures = self._grid, [self.pictures[i] for i in members]
        rows = BatchQualities.of(self._network, steps, self._device)
        shape = (len(members), *grid.whole.size, self._network.config.latent_channels)
        symbols: Symbols = np.zeros(shape, np.int16)
        indices = np.zeros(shape, np.uint8)
        growing = Lock()  # no other thread's tile may be written to an array that is about to be replaced
        everyone = len(members) == len(self.pictures)

        def y(window: Window) -> Tensor:
            values = self._y.window(window)
            return values if everyone else values[list(members)]

        def hyper(tile: Window) -> Tensor:
            outer = tile.grown(-(-window_coding.HYPER_REACH // HYPER_STRIDE) * HYPER_STRIDE, grid.whole)
            z = self._network.hyper_latent(y(outer), rows.quality, rows.fine_quality)
            own, around = tile.coarser(HYPER_STRIDE), outer.coarser(HYPER_STRIDE)
            return z[own.within(around).slices]

        def quantise(tile: Window) -> Tensor:
            nonlocal symbols
            outer = tile.grown(window_coding.CONTEXT_REACH, grid.whole)
            zone = window_coding.hyper_window(outer, grid.whole)
            place = outer.within(zone.finer(HYPER_STRIDE))
            found = window_coding.quantise(self._network, y(outer), z.window(zone.finer(HYPER_STRIDE)), rows, place)
            inner = tile.within(outer).slices
            own = found.symbols[inner]
            with growing:
                if symbols.dtype == np.int16 and int(own.abs().amax()) >= 1 << 15:
                    symbols = symbols.astype(np.int32)
                symbols[tile.slices] = own.cpu().numpy()
            indices[tile.slices] = found.indices[inner].cpu().numpy()
            return found.latent[inner]

        z, latent = TiledTensor(grid, hyper, HYPER_STRIDE), TiledTensor(grid, quantise)
        outputs = [np.empty_like(p.pixels) for p in pictures] if similarity else []

        def walk(tile: Window) -> list[int]:
            """Squared errors of a tile, a picture each."""
            if not check:
                latent.tile(tile)
                return [0] * len(pictures)
            output = render(self._network, latent, grid, tile, rows)
            place = tile.finer(LATENT_STRIDE).slices[1:]
            errors = []
            for i, picture in enumerate(pictures):
                original = picture.pixels[place]
                planes = planes_of(output[i, : original.shape[0], : original.shape[1]], colour_of(picture))
                errors.append(squared_error(original, planes))
                if similarity:
                    outputs[i][place] = planes
            return errors

        errors = [0] * len(pictures)
        for number, tiles in grid.batches(pieces_at_once(self._device)):
            for found in each(walk, tiles, self._device):
                errors = [a + b for a, b in zip(errors, found, strict=True)]
            latent.drop_before(number)
            if not self._keeps:
                self._y.drop_before(number)
        whole = z.window(grid.whole.coarser(HYPER_STRIDE).finer(HYPER_STRIDE)).to(torch.int8).cpu().numpy()
        return [
            Quantised(
                step,
                whole[i],
                symbols[i],
                indices[i],
                to_psnr(errors[i], picture.pixels.size) if check else None,
                ms_ssim(picture.pixels, outputs[i]) if similarity else None,
            )
            for i, (step, picture) in enumerate(zip(steps, pictures, strict=True))
        ]

    def _analyse(self, tile: Window) -> Tensor:
        outer = tile.grown(window_coding.analysis_reach(self._network.config), self._grid.whole)
        image = to_network([window_of(p, outer) for p in self.pictures], self._device)
        y: Tensor = self._network.analysis(image)
        return y[tile.within(outer).slices]
