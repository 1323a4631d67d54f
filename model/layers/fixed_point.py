"""Layers of integer arithmetic, carried in float32, with the same result on every device.

Encoder and decoder must agree on every symbol's distribution to the last bit, or the rest of the
stream is noise. Floating-point networks do not guarantee that: the order of a sum differs between
devices, thread counts and library versions. Here activations are integers 0..255 (in units of
2^-4), weights are integers -255..255 (in units of 2^-7), and every partial sum stays below 2^24, so
that float32 holds it exactly in any order of summation (with TF32 products too: both factors fit
its 11 bits). Results are reduced to 8 bits by a shift and a floor.

Published cost of such 8 to 16-bit entropy networks: about 0.5 % of the rate (arXiv 2312.11209;
Balle et al., "Integer networks for data compression", 2019).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.layers.quality import KNOTS, interpolate

ACTIVATION_BITS = 4
WEIGHT_BITS = 7
ACCUMULATOR_BITS = ACTIVATION_BITS + WEIGHT_BITS
ACTIVATION_MAX = 255 / 2**ACTIVATION_BITS
WEIGHT_MAX = 255 / 2**WEIGHT_BITS
EXACT = 2**24
"""float32 holds every integer up to this one exactly."""


def round_to(x: Tensor, bits: int) -> Tensor:
    """Round half up to a multiple of 2^-bits; the gradient passes straight through."""
    rounded = (x.detach() * 2.0**bits).add_(0.5).floor_().mul_(2.0**-bits)
    return x + (rounded - x.detach()) if x.requires_grad else rounded


def clip_activation(x: Tensor) -> Tensor:
    """The non-linearity: 0 .. 255/16, in steps of 1/16."""
    return round_to(x, ACTIVATION_BITS).clamp(0, ACTIVATION_MAX)


class FixedLinear(nn.Module):
    """Linear layer on an integer grid: weights are multiples of 2^-7, biases of 2^-11, and the sums are exact.

    With `by_quality`, a bias vector per quality is interpolated between knots (multiples of 2^-8,
    interpolation weights multiples of 1/8: exact, too).
    """

    def __init__(self, inputs: int, outputs: int, *, by_quality: bool = False, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-1, 1) * inputs**-0.5)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.knots = nn.Parameter(torch.zeros(KNOTS, outputs)) if by_quality else None

    def forward(self, x: Tensor, quality: Tensor | None = None) -> Tensor:
        """Exact sums `[..., O]`, multiples of 2^-11.

        Args:
            x: activations `[..., I]`, multiples of 2^-4 with absolute values up to 255/16.
            quality: integers `[B]`, for a layer with `by_quality`.
        """
        weight, bias, knots = self.rounded()
        y = F.linear(x, weight, bias)
        if knots is not None and quality is not None:
            y += interpolate(knots, quality)
        return y

    def rounded(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Weight, bias and knots rounded to their grids, as `forward` uses them."""
        weight = round_to(self.weight.clamp(-WEIGHT_MAX, WEIGHT_MAX), WEIGHT_BITS)
        knots = None if self.knots is None else round_to(self.knots, ACCUMULATOR_BITS - 3)
        return weight, round_to(self.bias, ACCUMULATOR_BITS), knots

    def is_exact(self) -> bool:
        """Whether float32 holds every partial sum exactly, for any input."""
        weight = round_to(self.weight.detach().clamp(-WEIGHT_MAX, WEIGHT_MAX), WEIGHT_BITS)
        steps = weight.abs().sum(1) * 2**WEIGHT_BITS * 255
        extra = self.bias.detach().abs() + (self.knots.detach().abs().amax(0) if self.knots is not None else 0)
        return bool((steps + extra * 2**ACCUMULATOR_BITS < EXACT).all())


class FixedNeighbours(nn.Module):
    """Depthwise 3x3 weighted sum on the integer grid.

    Computed as nine explicit shifts: a library's convolution may transform its operands, and round.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((9, channels), 0.2))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, H, W, C]`, multiples of 2^-4 in 0..255/16, to exact sums of that shape, multiples of 2^-11."""
        weight = self.rounded()
        h, w = x.shape[1:3]
        padded = F.pad(x, (0, 0, 1, 1, 1, 1))
        total = torch.zeros_like(x)
        for i in range(9):
            row, column = divmod(i, 3)
            total.addcmul_(padded[:, row : row + h, column : column + w], weight[i])
        return total

    def rounded(self) -> Tensor:
        """Weights rounded to their grid, `[9, C]`, as `forward` uses them."""
        return round_to(self.weight.clamp(-WEIGHT_MAX, WEIGHT_MAX), WEIGHT_BITS)
