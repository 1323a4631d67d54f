"""Parameters by quality: one model has 64 qualities, from about 0.1 to 3 bits per pixel.

The qualities are log-spaced trade-offs between rate and distortion; parameters are learned at a few
knots.
"""

import torch
from torch import Tensor, nn

from model.core.config import QUALITIES

LAMBDA_MIN, LAMBDA_MAX = 0.0004, 1.0
"""Weight of the squared error (in squared 8-bit levels) against bits per pixel, at quality 0 and 63."""
KNOT_SPACING = 8
KNOTS = QUALITIES // KNOT_SPACING + 1


def tradeoff(quality: Tensor) -> Tensor:
    """Lambda of each quality; training minimises `bits per pixel + lambda * squared error in 8-bit levels`."""
    position = quality.to(torch.float32) / (QUALITIES - 1)
    return LAMBDA_MIN * (LAMBDA_MAX / LAMBDA_MIN) ** position


def interpolate(knots: Tensor, quality: Tensor) -> Tensor:
    """Interpolate vectors that are given at every eighth quality.

    The weights are multiples of 1/8: on knots that are multiples of 2^-b the result is an exact
    multiple of 2^-(b+3).

    Args:
        knots: float `[KNOTS, C]`.
        quality: `[B]`, integers in 0..63 or floats from 0 to below 64.

    Returns:
        float `[B, 1, 1, C]`, to broadcast over `[B, H, W, C]`.
    """
    left = torch.div(quality, KNOT_SPACING, rounding_mode="floor").long()
    weight = (quality - left * KNOT_SPACING).to(knots.dtype).div(KNOT_SPACING)[:, None]
    return (knots[left] * (1 - weight) + knots[left + 1] * weight)[:, None, None, :]


class QualityRows(nn.Module):
    """A learned vector per quality, interpolated between few knots: an image trains the neighbouring qualities, too."""

    def __init__(self, channels: int, start: Tensor | None = None) -> None:
        super().__init__()
        self.knots = nn.Parameter(torch.zeros(KNOTS, channels) if start is None else start.clone())

    def forward(self, quality: Tensor) -> Tensor:
        """Vectors of qualities `[B]`, as for `interpolate`: float `[B, 1, 1, C]`."""
        return interpolate(self.knots, quality)
