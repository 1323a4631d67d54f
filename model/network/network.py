"""The whole network and the dataflow through it.

    image --Analysis--> y --* gain[q]--> scaled y --HyperAnalysis--> z --round-->
                                                                     |
                        +--------------------------------------------+
                        |                                            |
                     Means (floating point)                      ScalePath (integers)
                        |  three passes, each sees the values and    |  scale index each
                        v  symbols of those before                   v
        symbols = round((y - mean) * gain[q])    --- coded with --- the index's table
                        |
                        v
        y ~ = symbols / gain[q] + mean  --Synthesis(q)-->  image ~

The left branch may differ by a rounding step between machines; the right one may not (`model.layers.fixed_point`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.bitstream.coding_passes import PASSES, pass_map
from model.bitstream.probability_tables import HYPER_MAX
from model.core.config import HYPER_STRIDE, CodecConfig
from model.entropy.entropy_model import EntropyModel
from model.entropy.hyperprior import HyperAnalysis, Means
from model.entropy.priors import HyperPrior, LatentPrior
from model.entropy.rdo_quantisation import thresholds, to_symbols, to_symbols_through
from model.entropy.scale_path import ScalePath
from model.layers.blocks import set_compute_dtype
from model.layers.quality import KNOT_SPACING, KNOTS, QualityRows, tradeoff
from model.network.transforms import Analysis, Synthesis


def _start_gains(channels: int) -> Tensor:
    """Log of 1 / step at every knot; high-rate theory puts the best step at sqrt(26 / lambda) levels."""
    knots = torch.arange(KNOTS) * KNOT_SPACING
    return torch.log(255 * torch.sqrt(tradeoff(knots) / 26))[:, None].repeat(1, channels)


def round_through(x: Tensor) -> Tensor:
    """Round to whole numbers; the gradient passes straight through."""
    return x + (torch.round(x) - x).detach()


@dataclass(slots=True)
class TrainingOutput:
    """What training sees of a batch: `image` float `[B, H, W, 3]`, bits an image `[B]` of y and of z."""

    image: Tensor
    bits_y: Tensor
    bits_z: Tensor


@dataclass(slots=True)
class AnalysedBatch:
    """Whole numbers of a batch, and the latent that the decoder will reconstruct from them.

    `z` int8 `[B, h/4, w/4, Z]`; `symbols` int32, `indices` uint8 and `latent` float32, each `[B, h, w, M]`.
    """

    z: Tensor
    symbols: Tensor
    indices: Tensor
    latent: Tensor


class Network(nn.Module):
    """All learned parts.

    Training calls it; encoding calls `analyse`; decoding calls `begin`, `advance`, `reconstruct`, `synthesise`.

    Attributes:
        entropy_model: made ready for coding with weights that stay (`finalise`), or None.
    """

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
        self.entropy_model: EntropyModel | None = None

    def forward(self, image: Tensor, quality: Tensor, noise: Tensor | None = None) -> TrainingOutput:
        """Rate and reconstruction of a training batch.

        Args:
            image: float `[B, H, W, 3]` in 0..1, sides multiples of 64.
            quality: integers `[B]`.
            noise: what stands for the rounding of z in its rate, float `[B, H/64, W/64, Z]` uniform in -0.5..0.5; drawn
                here when it is left out.
        """
        y = self.analysis(image)
        z = self.hyper_analysis(y * self.gain(quality), y, quality)
        if noise is None:
            noise = torch.empty_like(z).uniform_(-0.5, 0.5)
        bits_z = self.hyper_prior(z + noise, quality)
        state = self.begin(round_through(z).clamp(-HYPER_MAX, HYPER_MAX), quality, (y.shape[1], y.shape[2]))
        symbols = self._quantise(y, state, to_symbols_through)
        bits_y = self.prior((y - state.mean) * state.gain, symbols, state.indices)
        output = self.synthesis(self.reconstruct(state, symbols), quality)
        return TrainingOutput(output, bits_y.sum((1, 2, 3)), bits_z.sum((1, 2, 3)))

    def analyse(self, image: Tensor, quality: Tensor) -> AnalysedBatch:
        """Whole numbers to be coded, for images `[B, H, W, 3]` in 0..1 with sides that are multiples of 16."""
        y = self.analysis(image)
        z = self.hyper_latent(y, quality, quality)
        state = self.begin(z, quality, (y.shape[1], y.shape[2]))
        symbols = self._quantise(y, state, to_symbols)
        latent = self.reconstruct(state, symbols)
        return AnalysedBatch(z.to(torch.int8), symbols.to(torch.int32), state.indices.to(torch.uint8), latent)

    def hyper_latent(self, y: Tensor, quality: Tensor, step: Tensor) -> Tensor:
        """Latents `[B, h, w, M]` of any sides to z, whole numbers in float32 `[B, h/4, w/4, Z]`, rounded up.

        Args:
            y: what the analysis transform gave.
            quality: integers `[B]`, the row of the networks.
            step: float `[B]`, the quality with its fraction, of which the gain is taken.
        """
        h, w = y.shape[1:3]
        padding = (0, -w % HYPER_STRIDE, 0, -h % HYPER_STRIDE)
        if any(padding):
            y = F.pad(y.permute(0, 3, 1, 2), padding, mode="replicate").permute(0, 2, 3, 1)
        return torch.round(self.hyper_analysis(y * self.gain(step), y, quality)).clamp(-HYPER_MAX, HYPER_MAX)

    def _quantise(self, y: Tensor, state: "PassState", rounding: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """Symbols of all passes; `state` ends at the last."""
        symbols = torch.zeros_like(y)
        limits = thresholds(self.prior.costs())
        for number in range(PASSES):
            if number:
                self.advance(state, symbols)
            fresh = rounding((y - state.mean) * state.gain, state.indices, limits)
            symbols = torch.where(state.passes == number, fresh, symbols)
        return symbols

    def begin(self, z: Tensor, quality: Tensor, size: tuple[int, int]) -> "PassState":
        """What z (whole numbers `[B, h/4, w/4, Z]`) tells of the first pass's symbols, cropped to `size` = (h, w)."""
        h, w = size
        z = z.to(torch.float32)
        wide = self.means.features(z, quality)[:, :h, :w]
        narrow = self.scales.features(z, quality)[:, :h, :w]
        passes = torch.from_numpy(pass_map(h, w, self.config.latent_channels)).to(z.device)
        mean, indices = self.means.first(wide), self.scales.first(narrow, quality)
        return PassState(0, passes, quality, self.gain(quality), wide, narrow, mean, indices)

    def advance(self, state: "PassState", symbols: Tensor) -> None:
        """Go on to the next pass, given all symbols so far (whole numbers `[B, h, w, M]`; others are not looked at)."""
        known = state.passes <= state.number
        symbols = symbols.to(torch.float32) * known
        latents = self.reconstruct(state, symbols) * known
        mean = self.means.later[state.number](state.wide, latents)
        indices = self.scales.later[state.number](state.narrow, symbols, state.quality)
        state.mean = torch.where(known, state.mean, mean)
        state.indices = torch.where(known, state.indices, indices)
        state.number += 1

    def reconstruct(self, state: "PassState", symbols: Tensor) -> Tensor:
        """Whole numbers `[B, h, w, M]` to latents, float32 of that shape, for the passes that `state` has come to."""
        return self.prior.reconstruct(symbols.to(torch.float32), state.indices) / state.gain + state.mean

    def gain(self, quality: Tensor) -> Tensor:
        """Quantisation steps a unit of y, `[B, 1, 1, M]`; `quality` may have a fraction."""
        return torch.exp(self.log_gain(quality))

    def synthesise(self, latent: Tensor, quality: Tensor) -> Tensor:
        """Latents `[B, h, w, M]` to images, uint8 `[B, 16h, 16w, 3]`."""
        return self.synthesis.levels(latent, quality)


@dataclass(slots=True)
class PassState:
    """Where coding stands: what is known of the symbols of pass `number`, and still of those before.

    `passes` is uint8 `[h, w, M]`; `wide` and `narrow` are the features of z; `mean` and `indices`, float
    `[B, h, w, M]`, hold for passes up to `number`.
    """

    number: int
    passes: Tensor
    quality: Tensor
    gain: Tensor
    wide: Tensor
    narrow: Tensor
    mean: Tensor
    indices: Tensor


def finalise(network: Network, dtype: torch.dtype) -> None:
    """Make a network ready for coding: its weights will not change again.

    Args:
        network: on its device.
        dtype: of the blocks' matrix products.
    """
    set_compute_dtype(network, dtype, final=True)
    network.entropy_model = EntropyModel(network.means, network.scales, network.prior)


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
