"""The whole network and the dataflow through it.

    image --Analysis--> y --* gain[q]--> scaled y --HyperAnalysis--> z --round-->
                                                                     |
                        +--------------------------------------------+
                        |                                            |
                     Means (floating point)                      ScalePath (integers)
                        |  first pass: half of the latents           |  scale index each
                        v                                            v
        symbols = round((y - mean) * gain[q])    --- coded with --- Gaussian table of the index
                        |  second pass: the other half, given the first half's values and symbols
                        v
        y ~ = symbols / gain[q] + mean  --Synthesis(q)-->  image ~

The left branch may differ by a rounding step between machines; the right one may not (`model.fixed_point`).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import HYPER_STRIDE, CodecConfig
from model.hyperprior import HyperAnalysis, Means, first_pass_mask
from model.priors import HyperPrior, LatentPrior
from model.quality import KNOT_SPACING, KNOTS, QualityRows, tradeoff
from model.rounding import to_symbols, to_symbols_through
from model.scale_path import ScalePath
from model.tables import HYPER_MAX
from model.transforms import Analysis, Synthesis


def _start_gains(channels: int) -> Tensor:
    """Log of 1 / step at every knot; high-rate theory puts the best step at sqrt(26 / lambda) levels."""
    knots = torch.arange(KNOTS) * KNOT_SPACING
    return torch.log(255 * torch.sqrt(tradeoff(knots) / 26))[:, None].repeat(1, channels)


def round_through(x: Tensor) -> Tensor:
    """Round to whole numbers; the gradient passes straight through."""
    return x + (torch.round(x) - x).detach()


@dataclass(slots=True)
class Estimate:
    """What training sees of a batch: `image` float `[B, H, W, 3]`, bits an image `[B]` of y and of z."""

    image: Tensor
    bits_y: Tensor
    bits_z: Tensor


@dataclass(slots=True)
class Analysed:
    """Whole numbers of a batch, and the latent that the decoder will reconstruct from them.

    `z` int8 `[B, h/4, w/4, Z]`; `symbols` int32, `indices` uint8 and `latent` float32, each `[B, h, w, M]`.
    """

    z: Tensor
    symbols: Tensor
    indices: Tensor
    latent: Tensor


class Network(nn.Module):
    """All learned parts. Training calls it; coding calls `analyse`, `first_pass`, `second_pass`, `synthesise`."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config)
        self.synthesis = Synthesis(config)
        self.log_gain = QualityRows(config.latent_channels, _start_gains(config.latent_channels))
        self.hyper_analysis = HyperAnalysis(config)
        self.hyper_prior = HyperPrior(config.hyper_channels)
        self.means = Means(config)
        self.scales = ScalePath(config)
        self.prior = LatentPrior()

    def forward(self, image: Tensor, quality: Tensor) -> Estimate:
        """Rate and reconstruction of a training batch.

        Args:
            image: float `[B, H, W, 3]` in 0..1, sides multiples of 64.
            quality: integers `[B]`.
        """
        y = self.analysis(image)
        gain = torch.exp(self.log_gain(quality))
        z = self.hyper_analysis(y * gain, y, quality)
        bits_z = self.hyper_prior(z + torch.empty_like(z).uniform_(-0.5, 0.5), quality)
        z = round_through(z).clamp(-HYPER_MAX, HYPER_MAX)
        mask = first_pass_mask(y.shape[1], y.shape[2], y.shape[3], device=y.device)

        wide = self.means.features(z, quality)
        narrow = self.scales.features(z, quality)
        mean = self.means.first_pass(wide)
        index = self.scales.first_pass(narrow, quality)
        symbols = to_symbols_through((y - mean) * gain, index) * mask
        first = (self.prior.reconstruct(symbols, index) / gain + mean) * mask
        mean = torch.where(mask, mean, self.means.second_pass(wide, first))
        index = torch.where(mask, index, self.scales.second_pass(narrow, symbols, quality))

        residual = (y - mean) * gain
        symbols = to_symbols_through(residual, index)
        bits_y = self.prior(residual, symbols, index)
        latent = self.prior.reconstruct(symbols, index) / gain + mean
        return Estimate(self.synthesis(latent, quality), bits_y.sum((1, 2, 3)), bits_z.sum((1, 2, 3)))

    def analyse(self, image: Tensor, quality: Tensor) -> Analysed:
        """Whole numbers to be coded, for images `[B, H, W, 3]` in 0..1 with sides that are multiples of 16."""
        y = self.analysis(image)
        gain = torch.exp(self.log_gain(quality))
        h, w = y.shape[1:3]
        margins = (0, -w % HYPER_STRIDE, 0, -h % HYPER_STRIDE)
        padded = F.pad(y.permute(0, 3, 1, 2), margins, mode="replicate").permute(0, 2, 3, 1)
        z = torch.round(self.hyper_analysis(padded * gain, padded, quality)).clamp(-HYPER_MAX, HYPER_MAX)
        state = self.first_pass(z, quality, (h, w))
        symbols = to_symbols((y - state.mean) * gain, state.indices) * state.mask
        indices, latent_of = self.second_pass(state, symbols)
        symbols = torch.where(state.mask, symbols, to_symbols((y - latent_of.mean) * gain, indices))
        return Analysed(z.to(torch.int8), symbols.to(torch.int32), indices, latent_of(symbols))

    def first_pass(self, z: Tensor, quality: Tensor, size: tuple[int, int]) -> "FirstPass":
        """What z (whole numbers `[B, h/4, w/4, Z]`) tells of the first pass's symbols, cropped to `size` = (h, w)."""
        h, w = size
        z = z.to(torch.float32)
        wide = self.means.features(z, quality)[:, :h, :w]
        narrow = self.scales.features(z, quality)[:, :h, :w]
        mask = first_pass_mask(h, w, self.config.latent_channels, device=z.device)
        indices = self.scales.first_pass(narrow, quality).to(torch.uint8)
        gain = torch.exp(self.log_gain(quality))
        return FirstPass(wide, narrow, mask, quality, gain, self.means.first_pass(wide), indices)

    def second_pass(self, first: "FirstPass", symbols: Tensor) -> "tuple[Tensor, Reconstruction]":
        """Scale indices of both passes, uint8 `[B, h, w, M]`, and how symbols become latents."""
        symbols = symbols.to(torch.float32) * first.mask
        known = (self.prior.reconstruct(symbols, first.indices) / first.gain + first.mean) * first.mask
        mean = torch.where(first.mask, first.mean, self.means.second_pass(first.wide, known))
        second = self.scales.second_pass(first.narrow, symbols, first.quality).to(torch.uint8)
        indices = torch.where(first.mask, first.indices, second)
        return indices, Reconstruction(self.prior, indices, mean, first.gain)

    def synthesise(self, latent: Tensor, quality: Tensor) -> Tensor:
        """Latents `[B, h, w, M]` to images, uint8 `[B, 16h, 16w, 3]`."""
        image = self.synthesis(latent, quality)
        return torch.floor(image * 255 + 0.5).clamp(0, 255).to(torch.uint8)


@dataclass(slots=True)
class FirstPass:
    """State between the passes: features of both paths; means and indices of the first, valid where `mask` is True."""

    wide: Tensor
    narrow: Tensor
    mask: Tensor
    quality: Tensor
    gain: Tensor
    mean: Tensor
    indices: Tensor


@dataclass(slots=True)
class Reconstruction:
    """Turns symbols into latents: `reconstructed symbol / gain + mean`."""

    prior: LatentPrior
    indices: Tensor
    mean: Tensor
    gain: Tensor

    def __call__(self, symbols: Tensor) -> Tensor:
        """Whole numbers `[B, h, w, M]` to float32 latents of that shape."""
        return self.prior.reconstruct(symbols.to(torch.float32), self.indices) / self.gain + self.mean


def randomly_initialised(config: CodecConfig) -> Network:
    """A network whose transforms start at random instead of as a DCT; for comparison.

    Xavier's initialisation, as in the source article. Residual branches still start at zero: gates multiply, and eight
    random ones in a row explode.
    """
    network = Network(config)
    analysis, synthesis = network.analysis, network.synthesis
    for layer in (analysis.stem, analysis.down, synthesis.up, synthesis.tail):
        nn.init.xavier_normal_(layer.weight)
    return network


def parameters_by_part(network: Network) -> dict[str, int]:
    """Number of parameters of each direct part."""
    return {name: sum(math.prod(p.shape) for p in part.parameters()) for name, part in network.named_children()}
