"""Variants of the entropy networks for `bench.entropy_trials`: each adds one thing, and at first changes nothing."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.bitstream.coding_passes import PASSES, pass_map
from model.core.config import LATENT_STRIDE
from model.entropy.hyperprior import MeanContext
from model.entropy.rdo_quantisation import thresholds, to_symbols, to_symbols_through
from model.entropy.scale_path import ScaleContext, log_size, to_index
from model.layers.blocks import Block
from model.layers.fixed_point import FixedLinear, FixedNeighbours, clip_activation
from model.network.network import Network


@dataclass(frozen=True, eq=False, slots=True)
class Coded:
    """Float `[B, h, w, M]` each: residuals in quantisation steps, symbols, scale indices, and latents as decoded."""

    residual: Tensor
    symbols: Tensor
    index: Tensor
    latent: Tensor


class Variant(nn.Module):
    """Means, scale indices and distributions of a model, without its transforms: the baseline of all trials.

    Attributes:
        network: the model; `entropy_parameters` are those to train.
        added: the layers that a variant adds at every position of the latents.
    """

    zeros_teach_means = False

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        self.added = nn.ModuleDict()

    def trained(self) -> list[nn.Parameter]:
        """What a trial trains."""
        parts = (self.network.means, self.network.scales, self.network.prior, self.added)
        return [p for part in parts for p in part.parameters()]

    def extra_work(self) -> float:
        """Added multiply-adds per pixel, in thousands."""
        return (
            sum(p.numel() for name, p in self.added.named_parameters() if "bias" not in name) / LATENT_STRIDE**2 / 1e3
        )

    def forward(self, y: Tensor, z: Tensor, quality: Tensor, *, estimate: bool = False) -> tuple[Tensor, Tensor]:
        """Bits of each latent, and the latents as decoded, both `[B, h, w, M]`; arguments as for `code`."""
        coded, prior = self.code(y, z, quality, estimate=estimate), self.network.prior
        if estimate:
            return prior.bits(coded.symbols, coded.index), coded.latent
        return prior(coded.residual, coded.symbols, coded.index), coded.latent

    def code(self, y: Tensor, z: Tensor, quality: Tensor, *, estimate: bool) -> "Coded":
        """Symbols and what follows from them, pass by pass.

        Args:
            y: latents, float `[B, h, w, M]`.
            z: hyper-latents, integers in float `[B, ceil(h/4), ceil(w/4), Z]`.
            quality: integers `[B]`.
            estimate: measure, instead of preparing gradients as training does.
        """
        network = self.network
        (h, w), gain = y.shape[1:3], network.gain(quality)
        wide, narrow = network.means.features(z, quality)[:, :h, :w], network.scales.features(z, quality)[:, :h, :w]
        passes = torch.from_numpy(pass_map(h, w, y.shape[3]))
        mean, index = network.means.first(wide), network.scales.first(narrow, quality)
        symbols, latent = torch.zeros_like(y), torch.zeros_like(y)
        of_means, of_scales = None, None
        steps = gain * self.finer(0, wide)
        for number in range(PASSES):
            if number:
                known = passes < number
                later, of_means = self.mean(number - 1, wide, latent * known, of_means)
                mean = torch.where(known, mean, later)
                steps = torch.where(known, steps, gain * self.finer(number, of_means))
                later, of_scales = self.index(number - 1, narrow, symbols * known, quality, of_scales)
                index = torch.where(known, index, later)
            mine = passes == number
            fresh, moved = self.quantised((y - mean) * steps, index, mine, estimate=estimate)
            symbols = torch.where(mine, fresh, symbols)
            latent = torch.where(mine, moved / steps + mean, latent)
        if self.zeros_teach_means:  # the latent of a symbol 0 is its mean
            latent = latent + torch.where(symbols.detach() == 0, mean - mean.detach(), 0.0)
        return Coded((y - mean) * steps, symbols, index, latent)

    def quantised(self, residual: Tensor, index: Tensor, mine: Tensor, *, estimate: bool) -> tuple[Tensor, Tensor]:
        """Symbols of a pass (where `mine`), and their reconstruction in quantisation steps."""
        prior = self.network.prior
        symbols = (to_symbols if estimate else to_symbols_through)(residual, index, thresholds(prior.costs()))
        return symbols, prior.reconstruct(symbols, index)

    def mean(self, number: int, wide: Tensor, known: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Means of the second (0) or third (1) pass, and the features they come from."""
        context = self._of_means(number)
        hidden = self.deepened(number, context.block(self.joined(context.join(torch.cat([wide, known], -1)), before)))
        return context.out(hidden), hidden

    def finer(self, number: int, features: Tensor) -> Tensor:
        """Quantisation steps of each latent of a pass, as a factor on those of its quality."""
        return torch.ones(1)

    def joined(self, hidden: Tensor, before: Tensor | None) -> Tensor:
        """Features before the block, given the features of the pass before, if there is one."""
        return hidden

    def deepened(self, number: int, hidden: Tensor) -> Tensor:
        """Features after the block."""
        return hidden

    def index(
        self, number: int, narrow: Tensor, symbols: Tensor, quality: Tensor, before: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Scale indices of the second (0) or third (1) pass, and the activations they come from."""
        context = self.network.scales.later[number]
        assert isinstance(context, ScaleContext)
        sizes = log_size(symbols)
        near = clip_activation(context.near(sizes))
        sums = context.join(torch.cat([narrow, near], -1), quality)
        hidden = self.mixed(number, clip_activation(self.summed(number, sums, sizes, before)))
        return to_index(context.out(hidden, quality)), hidden

    def summed(self, number: int, sums: Tensor, sizes: Tensor, before: Tensor | None) -> Tensor:
        """Sums of the hidden layer."""
        return sums

    def mixed(self, number: int, hidden: Tensor) -> Tensor:
        """Activations of the hidden layer."""
        return hidden

    def _of_means(self, number: int) -> MeanContext:
        context = self.network.means.later[number]
        assert isinstance(context, MeanContext)
        return context


def _nothing(layer: nn.Module) -> nn.Module:
    """The same layer, with an output of zero until it learns."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Zeros(Variant):
    """The distortion of latents whose symbol is 0 teaches their means (training only)."""

    zeros_teach_means = True


class Steps(Variant):
    """The features of the means also predict a factor on the quantisation step of each latent."""

    LARGEST = 1.5
    """Largest absolute value of the factor's logarithm."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        config = network.config
        for number in range(PASSES):
            width = config.context_width if number else config.hyper_width
            self.added[str(number)] = _nothing(nn.Linear(width, config.latent_channels))

    def extra_work(self) -> float:
        """Added multiply-adds per pixel, in thousands: passes code a quarter, a quarter and a half."""
        sizes = [self.added[str(number)].get_parameter("weight").numel() for number in range(PASSES)]
        return (sizes[0] / 4 + sizes[1] / 4 + sizes[2] / 2) / LATENT_STRIDE**2 / 1e3

    def finer(self, number: int, features: Tensor) -> Tensor:
        """Around 1 at first."""
        return torch.exp(self.added[str(number)](features).clamp(-self.LARGEST, self.LARGEST))


class Carry(Variant):
    """The third pass also sees the features of the second, of the means and of the scale indices."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        means, scales = network.config.context_width, 2 * network.config.scale_width
        self.added["means"] = _nothing(nn.Linear(means, means, bias=False))
        self.added["scales"] = _nothing(FixedLinear(scales, scales))

    def joined(self, hidden: Tensor, before: Tensor | None) -> Tensor:
        """With the features of the second pass."""
        return hidden if before is None else hidden + self.added["means"](before)

    def summed(self, number: int, sums: Tensor, sizes: Tensor, before: Tensor | None) -> Tensor:
        """With the activations of the second pass."""
        return sums if before is None else sums + self.added["scales"](before)


class TwoBlocks(Variant):
    """A second block in the network of each pass's means."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        for number in range(PASSES - 1):
            self.added[str(number)] = Block(network.config.context_width, precise=True)

    def deepened(self, number: int, hidden: Tensor) -> Tensor:
        """Through the second block."""
        out: Tensor = self.added[str(number)](hidden)
        return out


class Dictionary(Variant):
    """Each pass's means also see a sum of learned vectors, chosen by attention: a static dictionary."""

    HEADS, ENTRIES = 4, 32

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        width, entries = network.config.context_width, self.HEADS * self.ENTRIES
        for number in range(PASSES - 1):
            self.added[f"keys {number}"] = nn.Linear(width, entries)
            self.added[f"values {number}"] = _nothing(nn.Linear(entries, width, bias=False))

    def deepened(self, number: int, hidden: Tensor) -> Tensor:
        """With what the dictionary says."""
        likeness = self.added[f"keys {number}"](hidden).unflatten(-1, (self.HEADS, self.ENTRIES))
        out: Tensor = hidden + self.added[f"values {number}"](torch.softmax(likeness, -1).flatten(-2))
        return out


class Wide(Variant):
    """Networks of the means that are a third wider."""

    ADDED = 64

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        config, wider = network.config, network.config.context_width + self.ADDED
        self._extra = 0
        for number in range(PASSES - 1):
            context = self._of_means(number)
            before = sum(p.numel() for p in context.parameters())
            _widen(context, config.context_width, wider)
            self._extra += sum(p.numel() for p in context.parameters()) - before

    def extra_work(self) -> float:
        """Added multiply-adds per pixel, in thousands."""
        return self._extra / LATENT_STRIDE**2 / 1e3


def _widen(context: MeanContext, old: int, new: int) -> None:
    """New channels of the features, which no output sees until it learns to."""
    inputs, outputs = context.join.in_features, context.out.out_features
    join, block, out = nn.Linear(inputs, new), Block(new, precise=True), nn.Linear(new, outputs)
    with torch.no_grad():
        join.weight[:old], join.bias[:old] = context.join.weight, context.join.bias
        for name in ("spatial.weight", "spatial.bias", "project.bias"):
            block.get_parameter(name)[:old] = context.block.get_parameter(name)
        for into, of in ((0, 0), (new, old)):  # gates, values
            block.expand.weight[into : into + old].zero_()[:, :old] = context.block.expand.weight[of : of + old]
            block.expand.bias[into : into + old] = context.block.expand.bias[of : of + old]
        block.project.weight[:old, :old] = context.block.project.weight
        out.weight.zero_()[:, :old] = context.out.weight
        out.bias.copy_(context.out.bias)
    context.join, context.block, context.out = join, block, out


class Scales(Variant):
    """The integer path sums neighbours in two ways, and has one more hidden layer."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        channels, width = network.config.latent_channels, 2 * network.config.scale_width
        for number in range(PASSES - 1):
            self.added[f"near {number}"] = FixedNeighbours(channels)
            nn.init.uniform_(self.added[f"near {number}"].get_parameter("weight"), -0.1, 0.4)
            self.added[f"join {number}"] = _nothing(FixedLinear(channels, width))
            self.added[f"mix {number}"] = _nothing(FixedLinear(width, width))

    def summed(self, number: int, sums: Tensor, sizes: Tensor, before: Tensor | None) -> Tensor:
        """With the second sums of neighbours."""
        out: Tensor = sums + self.added[f"join {number}"](clip_activation(self.added[f"near {number}"](sizes)))
        return out

    def mixed(self, number: int, hidden: Tensor) -> Tensor:
        """With a residual layer."""
        return clip_activation(hidden + self.added[f"mix {number}"](hidden))


VARIANTS: dict[str, type[Variant]] = {
    "baseline": Variant,
    "zeros": Zeros,
    "carry": Carry,
    "block": TwoBlocks,
    "dictionary": Dictionary,
    "wide": Wide,
    "scales": Scales,
    "steps": Steps,
}
