"""Pictures to integers, at one quality after another.

The analysis transform is the same for all qualities, so its latents y are computed once;
`Encoder.quantise` may then be called for any number of qualities. For images of many tiles, y is
dropped tile by tile and computed again in the next call: memory holds 8-bit pixels, integers,
and floating-point numbers of a few bands of tiles.
"""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.core.config import LATENT_STRIDE
from model.core.picture import Picture
from model.inference import window_coding
from model.inference.device_copies import Arrivals, to_device
from model.inference.latent_sample import LatentSample
from model.inference.parallel import each
from model.inference.pixels import latent_size, to_network, window_of
from model.inference.projection_error import projection_error
from model.inference.quantisation_pass import Batch, Metric, QuantisationPass, Quantised
from model.inference.refinement import Refinement
from model.inference.tiling import Sides, TiledTensor, TileGrid, Window
from model.network.network import Network

KEPT_LATENTS = 1 << 26
"""Largest number of values of y that is kept for the next quality: 256 MB, 54 megapixels at 320 channels."""
_CPU = torch.device("cpu")


class Encoder:
    """Encodes pictures of one size in latents.

    Attributes:
        pictures: as they were given.
    """

    def __init__(
        self,
        network: Network,
        pictures: Sequence[Picture],
        device: torch.device,
        sides: Sides,
        arrivals: Arrivals | None = None,
    ) -> None:
        """Nothing is computed yet.

        Args:
            network: the model.
            pictures: at least one, all of one size in latents.
            device: where the network runs.
            sides: of the tiles.
            arrivals: on the way to which other results are, too; None: those of this encoder alone.
        """
        self.pictures = pictures
        self._arrivals = arrivals or Arrivals(device)
        self._network = network
        self._device = device
        self._grid = TileGrid(*latent_size(pictures[0].height, pictures[0].width), sides)
        self._pixels = TiledTensor(self._grid, self._pixels_of, finer=LATENT_STRIDE)
        self._y = TiledTensor(self._grid, self._analyse)
        height, width = self._grid.whole.size
        self._keeps_y = len(pictures) * height * width * network.config.latent_channels <= KEPT_LATENTS

    def sample(self, count: int) -> list[LatentSample]:
        """Latents of each picture at about `count` positions spread over it (over its middle tile if it is large)."""
        middle = self._grid.bands[len(self._grid.bands) // 2]
        area = self._grid.whole if self._keeps_y else middle[len(middle) // 2]
        each(self._y.tile, list(self._grid.touching(area)), self._device)
        positions = area.spread(count)
        latents = torch.cat([self._y.window(p) for p in positions], dim=1).flatten(1, 2).cpu().numpy()
        config = self._network.config

        def error(picture: Picture) -> NDArray[np.float32]:
            return projection_error(to_network([window_of(picture, p) for p in positions], _CPU), config).numpy()

        errors = each(error, self.pictures, _CPU)
        return [LatentSample(y, error) for y, error in zip(latents, errors, strict=True)]

    def quantise(
        self,
        members: Sequence[int],
        fine_qualities: Sequence[float],
        *,
        check: bool,
        also: Collection[Metric] = (),
        refine: Refinement | None = None,
    ) -> list[Quantised]:
        """Quantise some of the pictures.

        Args:
            members: which of the pictures.
            fine_qualities: quality of each, with its fraction.
            check: also reconstruct what the decoder will output, and measure its PSNR.
            also: metrics of the whole picture to measure, too; needs `check`.
            refine: how to refine the latents first; None: not at all.
        """
        return self.begin(members, fine_qualities, check=check, also=also, refine=refine).result()

    def begin(
        self,
        members: Sequence[int],
        fine_qualities: Sequence[float],
        *,
        check: bool,
        also: Collection[Metric] = (),
        refine: Refinement | None = None,
    ) -> QuantisationPass:
        """The same, without waiting for a GPU; the arguments are those of `quantise`."""
        some = None if len(members) == len(self.pictures) else to_device(np.array(members), self._device)
        batch = Batch([self.pictures[i] for i in members], self._y, self._pixels, some, self._keeps_y)
        how = (self._network, batch, self._grid, fine_qualities, self._device, self._arrivals)
        one = QuantisationPass(*how, check=check, also=also, refine=refine)
        one.begin()
        return one

    def _analyse(self, tile: Window) -> Tensor:
        """Latents y of a tile of all pictures."""
        outer = tile.grown(window_coding.analysis_reach(self._network.config), self._grid.whole)
        # On a GPU the pixels stay for the measurement; on a CPU they are in the pictures anyway.
        image = self._pixels_of(outer) if self._device.type == "cpu" else self._pixels.window(outer)
        y: Tensor = self._network.analysis(image, tile.surplus_of(outer))
        return y

    def _pixels_of(self, window: Window) -> Tensor:
        """Pixels of a window of all pictures, uint8 `[B, 16 h, 16 w, 3]`."""
        return to_network([window_of(p, window) for p in self.pictures], self._device)
