"""What a training step draws at random beside its crops: by place in the batch, whatever rank works on that place.

Every rank draws the whole batch's numbers from the same seed, which is thousands of small ones, and takes its share. So
a run does the same with one worker and with eight, and goes on after a restart as if nothing had happened.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.core.config import HYPER_STRIDE, LATENT_STRIDE, QUALITIES
from model.network.loss import MASK_PATCH


@dataclass(frozen=True, eq=False, slots=True)
class Draws:
    """Of a rank's share of a batch.

    Attributes:
        quality: of each crop, int64 `[B]`.
        noise: what stands for the rounding of z, float32 `[B, H/64, W/64, Z]` in -0.5..0.5.
        hidden: patches to hide, bool `[B, H/16, W/16]`.
    """

    quality: Tensor
    noise: Tensor
    hidden: Tensor


def draw(seed: int, step: int, image: Tensor, *, rank: int, world: int, channels: int, hide: float) -> Draws:
    """The numbers of one step.

    Qualities are spread evenly over the batch, one at random in each of as many equal ranges as there are crops, dealt
    at random: losses differ far more between qualities than between crops, and any one gradient would lean to those
    that it happens to hold.

    Args:
        seed: of the run.
        step: steps done.
        image: this rank's share of the crops, `[B, H, W, 3]`; all ranks' are equal in number.
        rank: of this process; its share are the places from `rank * B`.
        world: number of ranks.
        channels: of z.
        hide: share of patches to hide, 0..1.
    """
    count, height, width, _ = image.shape
    everyone, mine = count * world, slice(rank * count, (rank + 1) * count)
    random = np.random.default_rng([seed, step])
    stride = LATENT_STRIDE * HYPER_STRIDE
    strata = (random.permutation(everyone) + random.random(everyone)) * (QUALITIES / everyone)
    quality = strata.astype(np.int64).clip(max=QUALITIES - 1)[mine]
    noise = random.random((everyone, height // stride, width // stride, channels), np.float32)[mine] - 0.5
    hidden = random.random((everyone, height // MASK_PATCH, width // MASK_PATCH), np.float32)[mine] < hide
    return Draws(*(torch.from_numpy(numbers).to(image.device) for numbers in (quality, noise, hidden)))
