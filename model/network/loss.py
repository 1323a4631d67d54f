"""The training loss: rate + lambda(q) * distortion, each image with its own quality q."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from model.layers.quality import tradeoff
from model.network.network import TrainingOutput
from model.network.structural_error import structural_error
from model.network.visible_error import visible_error

Distortion = Literal["mse", "perceptual", "l2", "bce", "ms-ssim"]
DISTORTIONS: tuple[str, ...] = get_args(Distortion)
BALANCE = 0.45
"""Losses are divided by lambda^0.45: else the highest qualities dominate the gradient; at 0.5 all would be equal."""
MS_SSIM_WEIGHT = 5000.0
"""Squared levels per unit of 1 - MS-SSIM: puts both on one lambda scale (that of Balle et al. 2018 at 0.5 bpp)."""
SQUARED_SHARE = 0.5
"""Weight of the squared error within `perceptual`."""
STRUCTURAL_WEIGHT = 600.0
"""Squared levels per unit of structural error within `perceptual`.

Over all qualities the squared error is 1,200 to 2,000 times the structural error, so one weight
fits all (validation of the `base` of 9.1 gigapixels).
"""
VISIBLE_WEIGHT = 8.0
"""Squared levels per unit of visible error within `perceptual`."""
MEASURED = 128
"""Largest side in pixels of the middle of a training crop whose visible error is measured: half the work."""

MASK_PATCH = 16
"""Side in pixels of the patches that masked training hides."""


@dataclass(slots=True)
class Loss:
    """Per image, float `[B]`: the `total` to minimise, `bpp` of y and z together, the squared error `mse` of 0..1."""

    total: Tensor
    bpp: Tensor
    mse: Tensor


def distortion(kind: Distortion, output: Tensor, target: Tensor, measured: int | None = None) -> Tensor:
    """Distortion per image `[B]`, on the scale of squared 8-bit levels.

    `mse` is the mean squared error. `perceptual` is a share of it, plus the structural error in XYB
    (`model.network.structural_error`), plus the error that is visible by a model of the eye
    (`model.network.visible_error`): nearer to what people see. `l2` is the root of
    `mse`, the mean L2 error of the source article, scaled to be equal at 1 level. `bce` is binary
    cross-entropy for images of two levels. `ms-ssim` is 1 - MS-SSIM (Wang et al. 2003), for sides
    over 160 pixels.

    Args:
        kind: one of `DISTORTIONS`.
        output: float `[B, H, W, 3]`, about 0..1, not clipped.
        target: float `[B, H, W, 3]` in 0..1.
        measured: largest side in pixels of the middle that the visible error is measured on; None for all.
    """
    if kind == "mse":
        return 255**2 * (output - target).square().mean((1, 2, 3))
    if kind == "perceptual":
        squared = 255**2 * (output - target).square().mean((1, 2, 3))
        visible = visible_error(_middle(output, measured), _middle(target, measured))
        return SQUARED_SHARE * squared + STRUCTURAL_WEIGHT * structural_error(output, target) + VISIBLE_WEIGHT * visible
    if kind == "l2":
        return 255 * (output - target).square().mean((1, 2, 3)).add(1e-9).sqrt()
    if kind == "bce":
        return 255**2 * F.binary_cross_entropy(output.clamp(1e-4, 1 - 1e-4), target, reduction="none").mean((1, 2, 3))
    from pytorch_msssim import ms_ssim  # an extra's: coding needs no loss

    output, target = output.permute(0, 3, 1, 2), target.permute(0, 3, 1, 2)
    similarity: Tensor = ms_ssim(output, target, data_range=1.0, size_average=False)
    return MS_SSIM_WEIGHT * (1 - similarity)


def _middle(image: Tensor, side: int | None) -> Tensor:
    """The middle of `[B, H, W, 3]`, at most `side` pixels wide and high."""
    if side is None:
        return image
    top, left = (max(0, length - side) // 2 for length in image.shape[1:3])
    return image[:, top : top + side, left : left + side]


def rate_distortion(estimate: TrainingOutput, target: Tensor, quality: Tensor, kind: Distortion = "mse") -> Loss:
    """Loss of a batch.

    Args:
        estimate: output of the network in training.
        target: float `[B, H, W, 3]` in 0..1.
        quality: integers `[B]`.
        kind: the distortion to weight against the rate.
    """
    pixels = target.shape[1] * target.shape[2]
    bpp = (estimate.bits_y + estimate.bits_z) / pixels
    weight = tradeoff(quality)
    total = (bpp + weight * distortion(kind, estimate.image, target, MEASURED)) / weight**BALANCE
    return Loss(total, bpp, (estimate.image - target).square().mean((1, 2, 3)))


def hide_patches(image: Tensor, hidden: Tensor) -> Tensor:
    """Replace patches by grey, which the decoder must restore: masked training.

    He et al., "Masked autoencoders are scalable vision learners", 2022.

    Args:
        image: float `[B, H, W, 3]`, sides multiples of `MASK_PATCH`.
        hidden: which patches, bool `[B, H / MASK_PATCH, W / MASK_PATCH]`.

    Returns:
        the image with hidden patches set to 0.5.
    """
    b, h, w, _ = image.shape
    tiles = image.reshape(b, h // MASK_PATCH, MASK_PATCH, w // MASK_PATCH, MASK_PATCH, 3)
    return torch.where(hidden[:, :, None, :, None, None], 0.5, tiles).reshape(image.shape)
