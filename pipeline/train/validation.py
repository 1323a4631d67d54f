"""Validation: rate and distortion on held-out images at five qualities, with real rounding."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from model.layers.quality import tradeoff
from model.network.loss import BALANCE, Distortion, distortion
from model.network.network import Network
from pipeline.images.window import Window
from pipeline.train.crops import usable_image, validation_crop

VALIDATION_QUALITIES = (7, 20, 32, 44, 57)
MAX_IMAGES = 64
SIDE = 256
"""Longest side in pixels of the centre crops that are measured."""


MOST_PIXELS = 1 << 22
"""Of a larger image, only the middle is kept in memory while its crop is cut."""


class Validation:
    """Centre crops of held-out images, distributed over the ranks; `measure` returns the same on every rank."""

    def __init__(
        self,
        keys: Sequence[str],
        fetch: Callable[[str], bytes],
        rank: int,
        world: int,
        device: torch.device,
        scale: float = 1.0,
        distortion: Distortion = "mse",
    ) -> None:
        """Read this rank's share of the first `MAX_IMAGES` keys.

        Args:
            keys: keys of the held-out images.
            fetch: reads the bytes of a key.
            rank: rank of this process.
            world: number of ranks.
            device: device of the network.
            scale: factor by which the images are shrunk, as in training.
            distortion: distortion in the loss: `perceptual`; for any other name, the squared error.
        """
        side = math.ceil(SIDE / scale)
        centre = Window(max(MOST_PIXELS, side**2), side)
        images = (usable_image(fetch, key, 64 / scale, centre) for key in sorted(keys)[:MAX_IMAGES][rank::world])
        self._crops = [validation_crop(image, SIDE, scale) for image in images if image is not None]
        self._device = device
        self._distortion: Distortion = "perceptual" if distortion == "perceptual" else "mse"

    @torch.no_grad()
    def measure(self, network: Network) -> dict[str, float]:
        """Measure the network on the crops of all ranks.

        Returns:
            `loss`, the mean over the qualities, and for each quality Q `bpp/Q` (estimated bits per pixel, y and z),
            `psnr/Q` (dB, mean over images) and `distortion/Q` (mean of what the training minimises beside the
            rate, in squared 8-bit levels).
        """
        sums = torch.zeros(len(VALIDATION_QUALITIES), 4, dtype=torch.float64)
        for crop in self._crops:
            for row, q in enumerate(VALIDATION_QUALITIES):
                sums[row] += self._one(network, crop.to(self._device), torch.tensor([q], device=self._device))
        count = torch.tensor(float(len(self._crops)), dtype=torch.float64)
        if dist.is_initialized():
            packed = torch.cat([sums.flatten(), count[None]]).to(self._device)
            dist.all_reduce(packed)
            sums, count = packed[:-1].reshape(sums.shape).cpu(), packed[-1].cpu()
        means = sums / count.clamp(min=1)
        metrics = {"loss": float(means[:, 0].mean())}
        for row, q in enumerate(VALIDATION_QUALITIES):
            bpp, psnr, error = means[row, 1:].tolist()
            metrics |= {f"bpp/{q}": bpp, f"psnr/{q}": psnr, f"distortion/{q}": error}
        return metrics

    @torch.no_grad()
    def pictures(self, network: Network, quality: int, count: int) -> list[tuple[Tensor, Tensor]]:
        """Evenly chosen crops of this rank, as the network decodes them.

        Args:
            network: the network to use.
            quality: the quality to compress at.
            count: largest number of crops.

        Returns:
            pairs of original and decoded crop, uint8 `[H, W, 3]` each.
        """
        row = torch.tensor([quality], device=self._device)
        pairs = []
        for crop in self._crops[:: max(1, len(self._crops) // count)][:count]:
            latent = network.analyse(crop.to(self._device), row).latent
            pairs.append(((crop[0] * 255).round().to(torch.uint8), network.synthesise(latent, row)[0].cpu()))
        return pairs

    def _one(self, network: Network, image: Tensor, quality: Tensor) -> Tensor:
        """Loss, bits per pixel, PSNR and distortion of one image, float64 `[4]`."""
        coded = network.analyse(image, quality)
        bits = network.prior.bits(coded.symbols.to(torch.float32), coded.indices.to(torch.float32)).sum()
        bits = bits + network.hyper_prior(coded.z.to(torch.float32), quality).sum()
        bpp = bits / (image.shape[1] * image.shape[2])
        output = network.synthesise(coded.latent, quality).to(torch.float32) / 255
        squared = distortion("mse", output, image)[0]
        weight, error = tradeoff(quality)[0], distortion(self._distortion, output, image)[0]
        loss = (bpp + weight * error) / weight**BALANCE
        psnr = 10 * torch.log10(255**2 / squared.clamp(min=1e-3))
        return torch.stack([loss, bpp, psnr, error]).double().cpu()
