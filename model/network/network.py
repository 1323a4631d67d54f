"""The whole network and the dataflow through it.

    image --Analysis--> y --* gain[q]--> scaled y --HyperAnalysis--> z --round-->
                                                                     |
                        +--------------------------------------------+
                        |                                            |
                     Means (floating point)                      ScalePath (integers)
                        |  three passes, each sees the latents       |  scale index of
                        v  and symbols of the passes before          v  each symbol
        symbols = round((y - mean) * gain[q])    --- coded with --- the table of its index
                        |
                        v
        y ~ = symbols / gain[q] + mean  --Synthesis(q)-->  image ~

The left branch may differ by a rounding step between machines; the right one may not
(`model.layers.fixed_point`).

Training calls `Network.forward`, and validation `Network.analyse`; both run the passes by `begin`,
`advance` and `reconstruct`. Coding runs the same layers tile by tile
(`model.inference.window_coding`) and calls only `analysis`, `hyper_latent`, `gain` and `synthesise`
of this class; an encode that refines latents also takes gradients through `synthesis`.
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
from model.core.errors import MaepressError
from model.entropy.entropy_model import EntropyModel
from model.entropy.hyperprior import HyperAnalysis, Means
from model.entropy.priors import HyperPrior, LatentPrior
from model.entropy.rdo_quantisation import thresholds, to_symbols, to_symbols_through
from model.entropy.scale_path import ScalePath
from model.layers.blocks import set_compute_dtype
from model.layers.quality import KNOT_SPACING, KNOTS, QualityRows, tradeoff
from model.layers.surplus import NONE, Surplus
from model.network.transforms import Analysis, Synthesis


def _start_gains(channels: int) -> Tensor:
    """Log of 1 / step at every knot; by high-rate theory the best step is sqrt(26 / lambda) levels."""
    knots = torch.arange(KNOTS) * KNOT_SPACING
    return torch.log(255 * torch.sqrt(tradeoff(knots) / 26))[:, None].repeat(1, channels)


def round_through(x: Tensor) -> Tensor:
    """Round to integers; the gradient passes straight through."""
    return x + (torch.round(x) - x).detach()


def _finite(x: Tensor) -> Tensor:
    """The tensor itself, in training.

    Raises:
        MaepressError: when not all of its values are finite.
    """
    if not torch.isfinite(x).all():
        raise MaepressError("training has diverged: try a lower --learning-rate or another --init, in a new folder")
    return x


@dataclass(slots=True)
class TrainingOutput:
    """Reconstruction and rate of a training batch.

    Attributes:
        image: float `[B, H, W, 3]`, about 0..1, not clipped.
        bits_y: estimated bits of y per image, `[B]`.
        bits_z: estimated bits of z per image, `[B]`.
    """

    image: Tensor
    bits_y: Tensor
    bits_z: Tensor


@dataclass(slots=True)
class AnalysedBatch:
    """Integers of a batch, and the latents that the decoder will reconstruct from them.

    Attributes:
        z: hyper-latents, int8 `[B, ceil(h/4), ceil(w/4), Z]`.
        symbols: int32 `[B, h, w, M]`.
        indices: scale indices, uint8 `[B, h, w, M]`.
        latent: float32 `[B, h, w, M]`.
    """

    z: Tensor
    symbols: Tensor
    indices: Tensor
    latent: Tensor


class Network(nn.Module):
    """All trainable parts.

    Attributes:
        entropy_model: prepared for coding with final weights by `finalise`, or None.
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
            noise: replaces the rounding of z in its rate; float `[B, H/64, W/64, Z]`, uniform in
                -0.5..0.5. Sampled here if it is None.

        Raises:
            MaepressError: when latents, or what predicts them, are not finite: they have no bits.
        """
        y = _finite(self.analysis(image))
        z = _finite(self.hyper_analysis(y * self.gain(quality), y, quality))
        if noise is None:
            noise = torch.empty_like(z).uniform_(-0.5, 0.5)
        bits_z = self.hyper_prior(z + noise, quality)
        state = self.begin(round_through(z).clamp(-HYPER_MAX, HYPER_MAX), quality, (y.shape[1], y.shape[2]))
        symbols = self._quantise(y, state, lambda residual, *more: to_symbols_through(_finite(residual), *more))
        bits_y = self.prior((y - state.mean) * state.gain, symbols, state.indices)
        output = self.synthesis(self.reconstruct(state, symbols), quality)
        return TrainingOutput(output, bits_y.sum((1, 2, 3)), bits_z.sum((1, 2, 3)))

    def analyse(self, image: Tensor, quality: Tensor) -> AnalysedBatch:
        """Integers of whole images `[B, H, W, 3]` in 0..1, with sides that are multiples of 16."""
        return self.analyse_latents(self.analysis(image), quality)

    def analyse_latents(self, y: Tensor, quality: Tensor) -> AnalysedBatch:
        """The same from latents `[B, h, w, M]`."""
        z = self.hyper_latent(y, quality, quality)
        state = self.begin(z, quality, (y.shape[1], y.shape[2]))
        symbols = self._quantise(y, state, to_symbols)
        latent = self.reconstruct(state, symbols)
        return AnalysedBatch(z.to(torch.int8), symbols.to(torch.int32), state.indices.to(torch.uint8), latent)

    def hyper_latent(self, y: Tensor, quality: Tensor, fine_quality: Tensor) -> Tensor:
        """Hyper-latents z of latents `[B, h, w, M]` of any sides: integers in float32 `[B, ceil(h/4), ceil(w/4), Z]`.

        Args:
            y: output of the analysis transform.
            quality: integers `[B]`.
            fine_quality: quality with its fraction, float `[B]`; it sets the gain.
        """
        h, w = y.shape[1:3]
        padding = (0, -w % HYPER_STRIDE, 0, -h % HYPER_STRIDE)
        if any(padding):
            y = F.pad(y.permute(0, 3, 1, 2), padding, mode="replicate").permute(0, 2, 3, 1)
        return torch.round(self.hyper_analysis(y * self.gain(fine_quality), y, quality)).clamp(-HYPER_MAX, HYPER_MAX)

    def _quantise(self, y: Tensor, state: "PassState", rounding: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """Symbols of all passes; advances `state` to the last pass."""
        symbols = torch.zeros_like(y)
        limits = thresholds(self.prior.costs())
        for number in range(PASSES):
            if number:
                self.advance(state, symbols)
            fresh = rounding((y - state.mean) * state.gain, state.indices, limits)
            symbols = torch.where(state.passes == number, fresh, symbols)
        return symbols

    def begin(self, z: Tensor, quality: Tensor, size: tuple[int, int]) -> "PassState":
        """State of the first pass, from z (integers `[B, ceil(h/4), ceil(w/4), Z]`), cropped to `size` = (h, w)."""
        h, w = size
        z = z.to(torch.float32)
        wide = self.means.features(z, quality)[:, :h, :w]
        narrow = self.scales.features(z, quality)[:, :h, :w]
        passes = torch.from_numpy(pass_map(h, w, self.config.latent_channels)).to(z.device)
        mean, indices = self.means.first(wide), self.scales.first(narrow, quality)
        return PassState(0, passes, quality, self.gain(quality), wide, narrow, mean, indices)

    def advance(self, state: "PassState", symbols: Tensor) -> None:
        """Advance to the next pass, given the symbols `[B, h, w, M]` so far; those of later passes are ignored."""
        known = state.passes <= state.number
        symbols = symbols.to(torch.float32) * known
        latents = self.reconstruct(state, symbols) * known
        mean = self.means.later[state.number](state.wide, latents)
        indices = self.scales.later[state.number](state.narrow, symbols, state.quality)
        state.mean = torch.where(known, state.mean, mean)
        state.indices = torch.where(known, state.indices, indices)
        state.number += 1

    def reconstruct(self, state: "PassState", symbols: Tensor) -> Tensor:
        """Latents, float32 `[B, h, w, M]`, of symbols of that shape, valid for the passes up to that of `state`."""
        return self.prior.reconstruct(symbols.to(torch.float32), state.indices) / state.gain + state.mean

    def gain(self, quality: Tensor) -> Tensor:
        """Quantisation steps per unit of y, `[B, 1, 1, M]`; `quality` may have a fraction."""
        return torch.exp(self.log_gain(quality))

    def synthesise(self, latent: Tensor, quality: Tensor, surplus: Surplus = NONE) -> Tensor:
        """Images, uint8 `[B, 16h, 16w, 3]`, of latents: `[B, h, w, M]` and a surplus around them."""
        return self.synthesis.levels(latent, quality, surplus)


@dataclass(slots=True)
class PassState:
    """Distributions of the symbols of the passes up to `number`.

    Attributes:
        number: of the current pass, 0..2.
        passes: pass of each latent, uint8 `[h, w, M]`.
        quality: integers `[B]`.
        gain: quantisation steps per unit of y, `[B, 1, 1, M]`.
        wide: features of z for the means.
        narrow: features of z for the scale indices.
        mean: float `[B, h, w, M]`, valid for passes up to `number`.
        indices: scale indices, float `[B, h, w, M]`, valid for passes up to `number`.
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
    """Prepare a network for coding: its weights must not change again.

    Args:
        network: on its device.
        dtype: of the blocks' matrix products.
    """
    set_compute_dtype(network, dtype, final=True)
    network.entropy_model = EntropyModel(network.means, network.scales, network.prior)


def randomly_initialised(config: CodecConfig) -> Network:
    """A network whose transforms start at random instead of as a DCT, for comparison.

    Xavier initialisation, as in the source article. Residual branches still start at zero: gates
    multiply, and eight random ones in sequence diverge.
    """
    network = Network(config)
    analysis, synthesis = network.analysis, network.synthesis
    for layer in (analysis.stem, analysis.down, synthesis.up, synthesis.tail):
        nn.init.xavier_normal_(layer.weight)
    return network


def parameters_by_part(network: Network) -> dict[str, int]:
    """Number of parameters of each direct child."""
    return {name: sum(math.prod(p.shape) for p in part.parameters()) for name, part in network.named_children()}
