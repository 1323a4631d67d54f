"""The entropy model as coding runs it: weights made ready once, each pass computed at its own places.

Training computes every pass everywhere (`Network.forward`). The integer path
(`model.entropy.scale_path`) runs in whole numbers here, not in sixteenths: powers of two moved into
the weights change no digit of any sum, and halves added beforehand make rounding a floor.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.bitstream.coding_passes import GROUPS, PASSES, Sublattice, lattice
from model.entropy.elementwise import LookupTables, neighbours
from model.entropy.hyperprior import MeanContext, Means
from model.entropy.priors import LatentPrior
from model.entropy.rdo_quantisation import thresholds
from model.entropy.scale_path import INDEX_BITS, LOG_SIZES, ScaleContext, ScalePath
from model.layers.fixed_point import ACTIVATION_BITS, FixedLinear
from model.layers.quality import interpolate

_ONE = 2.0**ACTIVATION_BITS


@dataclass(frozen=True, eq=False, slots=True)
class _Linear:
    """Weight `[O, I]` and bias `[O]`, and what is added to the bias by quality, `[KNOTS, O]`."""

    weight: Tensor
    bias: Tensor
    knots: Tensor | None = None

    def row(self, quality: Tensor) -> Tensor:
        """Bias of integer qualities `[B]`, `[B, 1, 1, O]`."""
        assert self.knots is not None
        return self.bias + interpolate(self.knots, quality)


class EntropyModel:
    """Means and scale indices, pass by pass.

    A copy or a pickle of it is None: weights of a copied network may change.

    Attributes:
        places: of each pass.
        tables: what is looked up for a number.
    """

    @torch.no_grad()
    def __init__(self, means: Means, scales: ScalePath, prior: LatentPrior) -> None:
        """Copies of the weights of a network's parts."""
        device = scales.out.weight.device
        self.places = [lattice(number) for number in range(PASSES)]
        self.tables = LookupTables(
            thresholds(prior.costs()),
            F.pad(prior.offset.detach(), (1, 0)),
            torch.tensor(LOG_SIZES, dtype=torch.uint8, device=device),
        )
        of_means = [c for c in means.later if isinstance(c, MeanContext)]
        of_scales = [c for c in scales.later if isinstance(c, ScaleContext)]
        channels = means.first.out_features
        self._mean_joins = [_split(_plain(c.join), c.join.in_features - channels) for c in of_means]
        self._mean_blocks = [c.block for c in of_means]
        outs = [_plain(layer) for layer in (means.first, *(c.out for c in of_means))]
        self._mean_outs = [list(zip(_groups(x.weight), _groups(x.bias), strict=True)) for x in outs]
        self._near_weights = [c.near.rounded() for c in of_scales]
        joins = [_split(_whole(c.join, _ONE), c.join.weight.shape[1] - channels) for c in of_scales]
        self._scale_joins = [(features, near / _ONE) for features, near in joins]
        self._scale_rows = [_whole(scales.out, 2.0**INDEX_BITS)]
        self._scale_rows += [_whole(c.out, 2.0**INDEX_BITS, 1 / _ONE) for c in of_scales]
        self._scale_outs = [_groups(out.weight) for out in self._scale_rows]

    def mean_features(self, number: int, wide: Tensor, latent: Tensor) -> Tensor:
        """What a pass's means are read from, `[B, h, w, C]`.

        Args:
            number: of the pass.
            wide: features of z.
            latent: of the passes before, zero elsewhere.
        """
        if not number:
            return wide
        near, known = self._mean_joins[number - 1]
        joined = F.linear(wide, near.weight, near.bias)
        _flat(joined).addmm_(_flat(latent), known.T)
        features: Tensor = self._mean_blocks[number - 1](joined)
        return features

    def means(self, number: int, place: Sublattice, features: Tensor) -> Tensor:
        """Means at a place, `[B, N, n]`."""
        return F.linear(_rows(place, features), *self._mean_outs[number][place.group])

    def scale_features(self, number: int, narrow: Tensor, sizes: Tensor | None, quality: Tensor) -> Tensor:
        """What a pass's scale indices are read from, `[B, h, w, C]`.

        Args:
            number: of the pass.
            narrow: features of z.
            sizes: of the symbols of the passes before, uint8 `[B, h + 2, w + 2, M]`, zero elsewhere and in the border;
                the first pass looks at none.
            quality: integers `[B]`.
        """
        if not number:
            return narrow
        assert sizes is not None
        near = neighbours(sizes, self._near_weights[number - 1])
        join, of_near = self._scale_joins[number - 1]
        joined = F.linear(narrow, join.weight)
        _flat(joined).addmm_(_flat(near), of_near.T)
        return joined.add_(join.row(quality)).floor_().clamp_(0, 255)

    def sum_rows(self, number: int, quality: Tensor) -> Tensor:
        """What integer qualities `[B]` add to a pass's `sums`, `[B, 1, M]`."""
        return self._scale_rows[number].row(quality).flatten(1, 2)

    def sums(self, number: int, place: Sublattice, features: Tensor, rows: Tensor) -> Tensor:
        """Scale indices at a place before they are rounded down and clipped, `[B, N, n]`; `rows` as of `sum_rows`."""
        weight = self._scale_outs[number][place.group]
        return F.linear(_rows(place, features), weight).add_(rows[..., place.channels])

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


def _plain(layer: nn.Linear) -> _Linear:
    return _Linear(layer.weight.detach(), layer.bias.detach())


def _split(layer: _Linear, inputs: int) -> tuple[_Linear, Tensor]:
    """A layer that joins two inputs: for the first, of so many channels, a layer; for the second a weight."""
    first, second = layer.weight[:, :inputs].contiguous(), layer.weight[:, inputs:].contiguous()
    return _Linear(first, layer.bias, layer.knots), second


def _whole(layer: FixedLinear, times: float, unit: float = 1.0) -> _Linear:
    """A layer's numbers as they count, times a power of two, with the half that makes a floor of rounding.

    Args:
        layer: of the integer path.
        times: units of the output in one.
        unit: of the input.
    """
    weight, bias, knots = layer.rounded()
    return _Linear(weight * times * unit, bias * times + 0.5, None if knots is None else knots * times)


def _groups(outputs: Tensor) -> list[Tensor]:
    """Rows of one group of channels each."""
    return [outputs[group::GROUPS].contiguous() for group in range(GROUPS)]


def _rows(place: Sublattice, features: Tensor) -> Tensor:
    """Of `[B, h, w, C]` those at the place, `[B, N, C]`."""
    return features[:, place.a :: 2, place.b :: 2].flatten(1, 2)


def _flat(x: Tensor) -> Tensor:
    return x.view(-1, x.shape[-1])
