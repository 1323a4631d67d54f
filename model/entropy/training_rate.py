"""Bits of the latents in training, with gradients written by hand: autograd would keep and read every intermediate.

Symbols and scale indices are integers, so their bits and the slopes of these are looked up in a
table that is computed once per step; the gradient of a table's entry is the sum over all its uses.
"""

import math
from typing import Any

import torch
from torch import Tensor

from model.bitstream.probability_tables import LOG_STEP, SCALE_MIN

FLOOR = 2.0**-24
"""Least probability; bits are at most 24."""
_PER_NAT = 1 / math.log(2)


def looked_up(table: Tensor, position: Tensor) -> Tensor:
    """Entries of a table `[N]` at integer positions of any shape; differentiable in the table."""
    found: Tensor = _LookedUp.apply(table, position)  # type: ignore[no-untyped-call]
    return found


def bits_by_table(table: Tensor, slope: Tensor, size: Tensor, index: Tensor) -> Tensor:
    """Bits of symbols with absolute values `size`.

    Args:
        table: bits of 0, 1 ... by scale index, float `[SCALES, K]`; differentiable.
        slope: their derivative by the scale index, float `[SCALES, K]`.
        size: integers 0 .. K - 1, int64, any shape.
        index: scale indices, integers in float of that shape; differentiable.
    """
    position = index.detach().long().mul_(table.shape[1]).add_(size)
    bits: Tensor = _ByTable.apply(table.flatten(), slope.flatten(), position, index)  # type: ignore[no-untyped-call]
    return bits


def with_slope_of_noise(bits: Tensor, noisy: Tensor, index: Tensor, inverse: Tensor, weight: Tensor) -> Tensor:
    """The same bits, with the gradient that the bits of `noisy` have by `noisy`, in addition to their own.

    Args:
        bits: of the coded symbols, any shape.
        noisy: latents with noise in place of rounding, in quantisation steps from their mean; differentiable.
        index: scale indices, integers in float.
        inverse: 1 / spread of each Gaussian of the mixtures, float `[SCALES, 2]`; constant.
        weight: of each Gaussian, float `[SCALES, 2]`; constant.
    """
    out: Tensor = _SlopeOfNoise.apply(bits, noisy, index.detach(), inverse, weight)  # type: ignore[no-untyped-call]
    return out


def _uses(gradient: Tensor, position: Tensor, like: Tensor) -> Tensor:
    """Sum of the gradients of each entry of a table."""
    return torch.bincount(position.flatten(), gradient.flatten(), minlength=like.numel()).view_as(like).to(like.dtype)


class _LookedUp(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, table: Tensor, position: Tensor) -> Tensor:
        context.save_for_backward(table, position)
        return torch.take(table, position)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        table, position = context.saved_tensors
        return _uses(gradient, position, table), None


class _ByTable(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, table: Tensor, slope: Tensor, position: Tensor, index: Tensor) -> Tensor:
        context.save_for_backward(table, slope, position)
        return torch.take(table, position)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None, Tensor]:
        table, slope, position = context.saved_tensors
        return _uses(gradient, position, table), None, None, torch.take(slope, position).mul_(gradient)


class _SlopeOfNoise(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, bits: Tensor, noisy: Tensor, index: Tensor, inverse: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(noisy, index, inverse, weight)
        return bits.view_as(bits)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        noisy, index, inverse, weight = context.saved_tensors
        return gradient, _slope(noisy, index.long(), inverse, weight).mul_(gradient), None, None, None


def _slope(value: Tensor, row: Tensor, inverse: Tensor, weight: Tensor) -> Tensor:
    """Derivative of the bits of values by themselves.

    With a bin's borders at distances a and b from the mean, in units of sqrt(2) deviations, a bin of
    one Gaussian has probability (erfc a - erfc b) / 2, and that falls with the absolute value by
    (exp -a^2 - exp -b^2) / sqrt(pi) per unit.
    """
    size = value.abs()
    scales = SCALE_MIN * torch.exp(torch.arange(len(inverse), device=value.device) * LOG_STEP)
    by_index = inverse / (scales[:, None] * math.sqrt(2))
    probability, fall = torch.zeros_like(size), torch.zeros_like(size)
    for part in range(inverse.shape[1]):
        unit = torch.take(by_index[:, part].contiguous(), row)
        share = torch.take((weight[:, part] / 2).contiguous(), row)
        near, far = (size - 0.5).mul_(unit), (size + 0.5).mul_(unit)
        probability.addcmul_(torch.erfc(near).sub_(torch.erfc(far)), share)
        density = near.square_().neg_().exp_().sub_(far.square_().neg_().exp_())
        fall.addcmul_(density.mul_(unit), share, value=2 / math.sqrt(math.pi))
    slope = fall.mul_(_PER_NAT).div_(probability.clamp(min=FLOOR)).mul_(probability > FLOOR)
    return slope.mul_(torch.sign(value))
