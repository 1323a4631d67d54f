"""The training loss: rate + lambda(q) * distortion, each image with its own quality q."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from model.layers.quality import tradeoff
from model.network.network import TrainingOutput
from model.network.structural_error import structural_error

Distortion = Literal["mse", "perceptual", "l2", "bce", "ms-ssim"]
DISTORTIONS: tuple[str, ...] = get_args(Distortion)
BALANCE = 0.45
"""Losses are divided by lambda^0.45: else the highest qualities dominate the gradient; at 0.5 all would be equal."""
MS_SSIM_WEIGHT = 5000.0
"""Squared levels per unit of 1 - MS-SSIM: puts both on one lambda scale (that of Balle et al. 2018 at 0.5 bpp)."""
SQUARED_SHARE = 0.3
"""Weight of the squared error within `perceptual`."""
STRUCTURAL_WEIGHT = 900.0
"""Squared levels per unit of structural error within `perceptual`.

Over all qualities the squared error is 1,200 to 2,000 times the structural error, so one weight
fits all (`psnr/Q` and `structural/Q` of the validation that the shipped `base` notes).
"""

MASK_PATCH = 16
"""Side in pixels of the patches that masked training hides."""


@dataclass(slots=True)
class Loss:
    """Per image, float `[B]`: the `total` to minimise, `bpp` of y and z together, the squared error `mse` of 0..1."""

    total: Tensor
    bpp: Tensor
    mse: Tensor


def distortion(kind: Distortion, output: Tensor, target: Tensor) -> Tensor:
    """Distortion per image `[B]`, on the scale of squared 8-bit levels.

    `mse` is the mean squared error. `perceptual` is a share of it plus the structural error in XYB
    (`model.network.structural_error`), which is nearer to what people see. `l2` is the root of
    `mse`, the mean L2 error of the source article, scaled to be equal at 1 level. `bce` is binary
    cross-entropy for images of two levels. `ms-ssim` is 1 - MS-SSIM (Wang et al. 2003), for sides
    over 160 pixels.

    Args:
        kind: one of `DISTORTIONS`.
        output: float `[B, H, W, 3]`, about 0..1, not clipped.
        target: float `[B, H, W, 3]` in 0..1.
    """
    if kind == "mse":
        return 255**2 * (output - target).square().mean((1, 2, 3))
    if kind == "perceptual":
        squared = 255**2 * (output - target).square().mean((1, 2, 3))
        return SQUARED_SHARE * squared + STRUCTURAL_WEIGHT * structural_error(output, target)
    if kind == "l2":
        return 255 * (output - target).square().mean((1, 2, 3)).add(1e-9).sqrt()
    if kind == "bce":
        return 255**2 * F.binary_cross_entropy(output.clamp(1e-4, 1 - 1e-4), target, reduction="none").mean((1, 2, 3))
    from pytorch_msssim import ms_ssim  # an extra's: coding needs no loss

    output, target = output.permute(0, 3, 1, 2), target.permute(0, 3, 1, 2)
    similarity: Tensor = ms_ssim(output, target, data_range=1.0, size_average=False)
    return MS_SSIM_WEIGHT * (1 - similarity)


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
    total = (bpp + weight * distortion(kind, estimate.image, target)) / weight**BALANCE
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
