"""The entropy model for coding: weights prepared once, each pass computed only where it codes.

Training computes every pass everywhere (`Network.forward`). The integer path
(`model.entropy.scale_path`) runs on integers here, not on sixteenths: powers of two moved into the
weights change no digit of any sum, and a half added to the bias makes rounding a floor.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.bitstream.coding_passes import GROUPS, PASSES, Sublattice, sublattices
from model.entropy.elementwise import LookupTables, join, neighbours, rows_of
from model.entropy.hyperprior import MeanContext, Means
from model.entropy.integer_linear import IntegerLinear
from model.entropy.priors import LatentPrior
from model.entropy.rdo_quantisation import thresholds
from model.entropy.scale_path import INDEX_BITS, LOG_SIZES, ScaleContext, ScalePath
from model.layers.fixed_point import ACCUMULATOR_BITS, ACTIVATION_BITS, WEIGHT_BITS, FixedLinear
from model.layers.quality import interpolate

_ONE = 2.0**ACTIVATION_BITS


@dataclass(frozen=True, eq=False, slots=True)
class _Linear:
    """Weight `[O, I]`, bias `[O]`, and knots `[KNOTS, O]` of a bias by quality."""

    weight: Tensor
    bias: Tensor
    knots: Tensor | None = None

    def row(self, quality: Tensor) -> Tensor:
        """Bias at integer qualities `[B]`, `[B, 1, 1, O]`."""
        assert self.knots is not None
        return self.bias + interpolate(self.knots, quality)


class EntropyModel:
    """Means and scale indices, pass by pass.

    Copying or pickling one gives None, because the weights of a copied network may change.

    Attributes:
        sublattices: of each pass.
        tables: of the elementwise operations.
        reads_wide: whether any layer reads the features of z for the means (`model.network.idle_units`).
    """

    @torch.no_grad()
    def __init__(self, means: Means, scales: ScalePath, prior: LatentPrior) -> None:
        """Copy and prepare the weights of a network's parts."""
        device = scales.out.weight.device
        self.sublattices = [sublattices(number) for number in range(PASSES)]
        self.tables = LookupTables(
            thresholds(prior.costs()),
            F.pad(prior.offset.detach(), (1, 0)),
            torch.tensor(LOG_SIZES, dtype=torch.uint8, device=device),
        )
        of_means = [c for c in means.later if isinstance(c, MeanContext)]
        of_scales = [c for c in scales.later if isinstance(c, ScaleContext)]
        channels, width = means.first.out_features, means.first.in_features
        readers = [means.first.weight, *(c.join.weight[:, :width] for c in of_means)]
        self.reads_wide = any(bool(weight.any()) for weight in readers)
        read = slice(None if self.reads_wide else 0)
        first = _Linear(means.first.weight.detach()[:, read], means.first.bias.detach())
        joins = [_split(_plain(c.join), width) for c in of_means]
        self._mean_joins = [(_Linear(wide.weight[:, read], wide.bias), known) for wide, known in joins]
        self._mean_blocks = [c.block for c in of_means]
        outs = [first, *(_plain(c.out) for c in of_means)]
        self._mean_outs = [list(zip(_groups(x.weight), _groups(x.bias), strict=True)) for x in outs]
        self._near_weights = [c.near.rounded() for c in of_scales]
        joins = [_split(_whole(c.join, _ONE), c.join.weight.shape[1] - channels) for c in of_scales]
        self._scale_joins = [(features, near / _ONE) for features, near in joins]
        self._scale_rows = [_whole(scales.out, 2.0**INDEX_BITS)]
        self._scale_rows += [_whole(c.out, 2.0**INDEX_BITS, 1 / _ONE) for c in of_scales]
        self._scale_outs = [_groups(out.weight) for out in self._scale_rows]
        self._integer_joins = [IntegerLinear.made(_units(c.join), WEIGHT_BITS) for c in of_scales]
        shift = ACCUMULATOR_BITS - INDEX_BITS
        self._integer_outs = [
            [IntegerLinear.made(weight, shift) for weight in _groups(_units(layer))]
            for layer in (scales.out, *(c.out for c in of_scales))
        ]
        layers = [*self._integer_joins, *(layer for outs in self._integer_outs for layer in outs)]
        self._in_bytes = None not in layers

    def mean_features(self, number: int, wide: Tensor, latent: Tensor) -> Tensor:
        """Features that a pass's means are computed from, `[B, h, w, C]`.

        Args:
            number: of the pass.
            wide: features of z, `[B, h, w, W]`; without channels if they are not read.
            latent: latents of the passes before, zero elsewhere.
        """
        if not number:
            return wide
        near, known = self._mean_joins[number - 1]
        joined = F.linear(wide, near.weight, near.bias)
        _flat(joined).addmm_(_flat(latent), known.T)
        features: Tensor = self._mean_blocks[number - 1](joined)
        return features

    def means(self, number: int, sublattice: Sublattice, features: Tensor) -> Tensor:
        """Means of a sublattice, `[B, N, n]`."""
        return F.linear(_rows(sublattice, features), *self._mean_outs[number][sublattice.group])

    def narrow(self, features: Tensor, quality: Tensor) -> Tensor:
        """Features of z for the scale indices, `[B, h, w, S]`: as bytes where all of that path can run on bytes.

        Args:
            features: float `[B, h, w, S]`, from `model.entropy.scale_path.ScalePath.features`.
            quality: integers `[B]`; bytes are for one quality.
        """
        in_bytes = self._in_bytes and bool((quality == quality[0]).all())
        return (features * _ONE).to(torch.uint8) if in_bytes else features

    def scale_features(self, number: int, narrow: Tensor, sizes: Tensor | None, quality: Tensor) -> Tensor:
        """Features that a pass's scale indices are computed from, `[B, h, w, C]`, in float or bytes.

        Args:
            number: of the pass.
            narrow: features of z, from `narrow`.
            sizes: log-sizes of the symbols of the passes before, uint8 `[B, h + 2, w + 2, M]`, zero
                elsewhere and in the border; None for the first pass.
            quality: integers `[B]`.
        """
        if not number:
            return narrow
        assert sizes is not None
        if narrow.dtype == torch.uint8:
            return self._features_in_bytes(number, narrow, sizes, quality[:1])
        near = neighbours(sizes, self._near_weights[number - 1])
        join, of_near = self._scale_joins[number - 1]
        joined = F.linear(narrow, join.weight)
        _flat(joined).addmm_(_flat(near), of_near.T)
        return joined.add_(join.row(quality)).floor_().clamp_(0, 255)

    def _features_in_bytes(self, number: int, narrow: Tensor, sizes: Tensor, quality: Tensor) -> Tensor:
        """The same as bytes, uint8."""
        layer = self._integer_joins[number - 1]
        assert layer is not None
        joined = join(narrow, sizes, self._near_weights[number - 1], layer)
        row = self._scale_joins[number - 1][0].row(quality).flatten()
        return layer(joined, row).view(*narrow.shape[:3], -1)

    def sum_rows(self, number: int, quality: Tensor) -> Tensor:
        """The bias of a pass's `sums` at integer qualities `[B]`, `[B, 1, M]`."""
        return self._scale_rows[number].row(quality).flatten(1, 2)

    def sums(self, number: int, sublattice: Sublattice, features: Tensor, rows: Tensor) -> Tensor:
        """Scale indices of a sublattice before clipping, and if in float before rounding down, `[B, N, n]`.

        Args:
            number: of the pass.
            sublattice: of the pass.
            features: from `scale_features`.
            rows: from `sum_rows`.
        """
        layer = self._integer_outs[number][sublattice.group]
        if features.dtype == torch.uint8 and layer is not None:
            found = layer(rows_of(features, sublattice, layer), rows[0, 0, sublattice.channels])
            return found.view(len(features), -1, found.shape[-1])
        weight = self._scale_outs[number][sublattice.group]
        return F.linear(_rows(sublattice, features), weight).add_(rows[..., sublattice.channels])

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


def _plain(layer: nn.Linear) -> _Linear:
    return _Linear(layer.weight.detach(), layer.bias.detach())


def _split(layer: _Linear, inputs: int) -> tuple[_Linear, Tensor]:
    """Split a layer of two concatenated inputs: a layer for the first `inputs` channels, a weight for the rest."""
    first, second = layer.weight[:, :inputs].contiguous(), layer.weight[:, inputs:].contiguous()
    return _Linear(first, layer.bias, layer.knots), second


def _whole(layer: FixedLinear, times: float, unit: float = 1.0) -> _Linear:
    """A layer's rounded parameters times powers of two, with one half in the bias, so that rounding is a floor.

    Args:
        layer: of the integer path.
        times: factor on the output.
        unit: factor on the input.
    """
    weight, bias, knots = layer.rounded()
    return _Linear(weight * times * unit, bias * times + 0.5, None if knots is None else knots * times)


def _units(layer: FixedLinear) -> Tensor:
    """A layer's rounded weight as integers in float."""
    return layer.rounded()[0] * 2.0**WEIGHT_BITS


def _groups(outputs: Tensor) -> list[Tensor]:
    """The rows of each group of channels."""
    return [outputs[group::GROUPS].contiguous() for group in range(GROUPS)]


def _rows(sublattice: Sublattice, features: Tensor) -> Tensor:
    """The positions of a sublattice in `[B, h, w, C]`, `[B, N, C]`."""
    return features[:, sublattice.a :: 2, sublattice.b :: 2].flatten(1, 2)


def _flat(x: Tensor) -> Tensor:
    return x.view(-1, x.shape[-1])
