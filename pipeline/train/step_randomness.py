"""Random numbers of a training step beside its crops: qualities, noise and hidden patches, by batch slot.

Every rank draws the numbers of the whole batch from the same seed, only some thousands, and takes its share. So a run
is the same with one worker and with eight, and a restart does not change it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.core.config import HYPER_STRIDE, LATENT_STRIDE, QUALITIES
from model.network.loss import MASK_PATCH


@dataclass(frozen=True, eq=False, slots=True)
class Draws:
    """Random numbers of a rank's share of a batch.

    Attributes:
        quality: quality of each crop, int64 `[B]`.
        noise: noise in place of the rounding of z, float32 `[B, H/64, W/64, Z]` in -0.5..0.5.
        hidden: patches to hide, bool `[B, H/16, W/16]`.
    """

    quality: Tensor
    noise: Tensor
    hidden: Tensor


def draw_step(seed: int, step: int, image: Tensor, *, rank: int, world: int, channels: int, hide: float) -> Draws:
    """Draw the numbers of one step.

    Qualities are stratified over the batch: one at random in each of as many equal ranges as there are crops, in random
    order. Losses differ far more between qualities than between crops, so unstratified gradients would be noisier.

    Args:
        seed: seed of the run.
        step: number of steps done.
        image: this rank's share of the crops, `[B, H, W, 3]`; all ranks' are equal in number.
        rank: rank of this process; its share are the batch slots from `rank * B`.
        world: number of ranks.
        channels: number of channels of z.
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
