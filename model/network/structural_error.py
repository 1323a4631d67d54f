"""Structural error: differences of local structure in a perceptual colour space, differentiable.

Training by `perceptual` distortion adds it to the squared and the visible error.

    sRGB --> linear light --> XYB --> scales 1/1, 1/2, 1/4, 1/8, 1/16
    per scale and channel, in Gaussian windows (sigma 1.5, at every second row and column):

        1 - (1 - (m1 - m2)^2) * (2 s12 + C) / (s11 + s22 + C)        means m, (co)variances s

    per scale: `MEANS` * mean over the windows + `PEAKS` * their 4-norm; an image's error is the sum

The terms are those of SSIMULACRA2 (Sneyers, 2022 to 2023: XYB, no luminance denominator), after
SSIM (Wang et al. 2004). A few round constants replace its 108 fitted weights; still, SSIMULACRA2 is
no independent test of what training minimises. From 1/4 of the resolution on, errors of structure
are much smaller than at full size, and much more visible, so they weigh more. The finest scale uses
luminance (Y) only: fine colour detail is hardly visible, and would cost as much as everything else
together.
"""

import functools
from typing import Any

import torch
from torch import Tensor

from model.network.windows import filtered, gaussian_means

SCALES = 5
SIGMA = 1.5
"""Standard deviation of a window, in pixels of its scale."""
RADIUS = 5
STRIDE = 2
"""Rows and columns between the centres of neighbouring windows."""
CONSTANT = 0.0009
"""C: variance below which structure hardly counts, as in SSIMULACRA2."""
MEANS = (0.1, 0.12, 0.8, 0.8, 0.8)
"""Weight of the windows' mean at each scale (docs/training.md, the trials of the perceptual distortion)."""
PEAKS = (0.06, 0.06, 0.2, 0.2, 0.2)
"""Weight of their norm, which the worst windows dominate."""
NORM = 4
"""Exponent of that norm."""
CHANNELS = (0.15, 0.7, 0.15)
"""Weights of X, Y and B; on the finest scale Y has the weight of all three."""
LEAST_SIDE = 8
"""Scales with a shorter side, in pixels, are left out; the finest is never."""

_LMS = ((0.30, 0.622, 0.078), (0.23, 0.692, 0.078), (0.24342269, 0.20476744, 0.55180987))
_BIAS = 0.0037930732552754493


def structural_error(output: Tensor, target: Tensor) -> Tensor:
    """Structural error of each image, float `[B]`: 0 for equal images, about 2 for unrelated ones; symmetric.

    Values outside 0..1 count as 0 or 1 and get no gradient; gradients are finite everywhere.

    Args:
        output: float `[B, H, W, 3]`, sRGB, about 0..1.
        target: float `[B, H, W, 3]`, sRGB in 0..1.
    """
    one, other = _xyb(output), _xyb(target)
    total = torch.zeros(output.shape[0], dtype=output.dtype, device=output.device)
    weights = torch.tensor(CHANNELS, dtype=output.dtype, device=output.device)
    for scale in range(SCALES):
        if scale:
            one, other = _halved(one), _halved(other)
        if scale and min(one.shape[2:]) < LEAST_SIDE:
            break
        if scale == 0:
            total = total + _pooled(one[1], other[1], scale)
        else:
            total = total + (weights[:, None] * _pooled(one, other, scale)).sum(0)
    return total


class _Roots(torch.autograd.Function):
    """SRGB `[3, N]` to the cube roots of the eye's cone responses (LMS), `[3, N]`.

    The gradient is written by hand: autograd would compute all powers again and keep every
    intermediate result. The linear part of sRGB's curve below 0.04 is left out; the power function
    is used there, too, which adds at most 0.0009 to linear light.
    """

    @staticmethod
    def forward(context: Any, image: Tensor) -> Tensor:
        base = image.clamp(0, 1).add_(0.055).mul_(1 / 1.055)
        light = base.pow(2.4)
        mixing = torch.tensor(_LMS, dtype=image.dtype, device=image.device)
        root = torch.addmm(torch.full_like(mixing[:, :1], _BIAS), mixing, light).pow_(1 / 3)
        if context.needs_input_grad[0]:
            context.save_for_backward(image, root, light.div_(base), mixing)
        return root

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        image, root, ratio, mixing = context.saved_tensors
        into_light = mixing.T @ (gradient / root.square().mul_(3))
        inside = (image >= 0) & (image <= 1)
        result: Tensor = into_light.mul_(ratio).mul_(2.4 / 1.055).mul_(inside)
        return result


def _xyb(image: Tensor) -> Tensor:
    """SRGB `[B, H, W, 3]` to XYB in SSIMULACRA2's positive scaling, `[3, B, H, W]`."""
    planes = image.permute(3, 0, 1, 2)
    root = _Roots.apply(planes.reshape(3, -1)).view(planes.shape)  # type: ignore[no-untyped-call]
    luminance = 0.5 * (root[0] + root[1]) - _BIAS ** (1 / 3)
    return torch.stack(
        [7 * (root[0] - root[1]) + 0.42, luminance + 0.01, root[2] - luminance + (0.55 - _BIAS ** (1 / 3))]
    )


def _pooled(one: Tensor, other: Tensor, scale: int) -> Tensor:
    """Weighted mean and norm of the windows' errors: `[..., H, W]` twice to `[...]`."""
    m1, m2, s11, s22, s12 = _windows(torch.stack([one, other, one * one, other * other, one * other]))
    s11, s22, s12 = s11 - m1 * m1, s22 - m2 * m2, s12 - m1 * m2
    shared = (2 * s12 + CONSTANT) / ((s11 + s22).clamp(min=0) + CONSTANT)
    error: Tensor = (1 - (1 - (m1 - m2).square()) * shared).clamp(min=0)
    tiny = 1e-4  # below it the root's gradient would grow without bound
    norm = (error.pow(NORM).mean((-2, -1)) + tiny**NORM) ** (1 / NORM) - tiny
    return MEANS[scale] * error.mean((-2, -1)) + PEAKS[scale] * norm


def _windows(x: Tensor) -> Tensor:
    """Gaussian averages at every `STRIDE`-th row and column: `[..., H, W]` to `[..., H / STRIDE, W / STRIDE]`."""
    return gaussian_means(x, SIGMA, RADIUS + 0.5, STRIDE)


def _halved(x: Tensor) -> Tensor:
    """Means of 2 x 2 pixels; an odd last row or column is averaged alone."""
    return filtered(x, _halving_rows(x.shape[-2]), _halving_rows(x.shape[-1]))


# Made outside of inference mode, whoever asks first: what is made inside may take no part in a gradient later.
@functools.cache
@torch.inference_mode(False)
def _halving_rows(size: int) -> Tensor:
    """Weights `[size / 2 rounded up, size]`."""
    weights = (torch.arange(size) // 2 == torch.arange((size + 1) // 2)[:, None]).double()
    return (weights / weights.sum(1, keepdim=True)).float()
