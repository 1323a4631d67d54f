"""The training step: network, moving average, optimiser and counters, without Ray.

    crops --Network--> lambda * distortion + rate --gradients, clipped--> SOAP --> weights --> moving average

`pipeline.train.worker` runs one in every rank of a DDP group; `bench.train_packed` runs one by itself on a GPU.
"""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from model.core.errors import MaepressError
from model.layers.blocks import set_compute_dtype
from model.layers.precision import best_dtype, coarse_products, denormals_as_zero
from model.network.loss import Distortion, Loss, hide_patches, rate_distortion
from model.network.network import Network, TrainingOutput
from pipeline.train.checkpoint import Counters, load_state, save_moments, save_state
from pipeline.train.soap import Soap
from pipeline.train.step_randomness import draw_step

AVERAGE = 0.999
"""Decay per step of the weights' moving average, which validation measures and the model keeps."""
WARM_UP = 30
"""Steps over which the learning rate rises from 0, a little more than the span of the optimiser's averages."""
LARGEST_GRADIENT = 1.0
"""Norm to which larger gradients are clipped, over all parameters."""
MOST_LEFT_OUT = 50
"""Batches in a row without a finite gradient after which training ends: it does not come back by itself."""


def learning_rate(peak: float, decay_share: float, step: int, progress: float) -> float:
    """Learning rate: warm-up, plateau, and cosine decay to 2 % of the peak over the last `decay_share` of the run.

    Args:
        peak: learning rate of the plateau.
        decay_share: share of the run with decay, above 0, at most 1.
        step: number of steps done.
        progress: share of the run that is done, 0..1.
    """
    fall = max(0.0, (min(progress, 1.0) - (1 - decay_share)) / decay_share)
    return peak * min(1.0, (step + 1) / WARM_UP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fall)))


class Learner:
    """Life of a learner: made from a network, perhaps `load`ed; then `step` after `step`, and `save` now and then.

    Attributes:
        average: the moving average of the weights: the network to validate and to keep.
        counters: steps, seconds and best loss so far.
    """

    def __init__(
        self,
        network: Network,
        *,
        peak: float,
        decay_share: float,
        distortion: Distortion = "mse",
        hide: float = 0.0,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Start from a network that is on its device already.

        Args:
            network: the weights to start from.
            peak: learning rate of the plateau.
            decay_share: last share of the run over which the rate decays.
            distortion: measure of distortion.
            hide: share of patches to hide from the encoder.
            seed: seed of qualities, noise and hidden patches.
            rank: rank of this process, which updates its share of the weights.
            world: number of ranks.
        """
        set_compute_dtype(network, best_dtype(next(network.parameters()).device))
        self.network, self.average = network, copy.deepcopy(network).requires_grad_(False).eval()
        self.optimizer = Soap(network.parameters(), peak, rank=rank, world=world)
        self.counters = Counters()
        self._peak, self._decay_share, self._distortion, self._hide = peak, decay_share, distortion, hide
        self._seed, self._rank, self._world = seed, rank, world
        self._left_out = 0
        self.forward: nn.Module | Callable[[Tensor, Tensor, Tensor], TrainingOutput] = network

    @denormals_as_zero()
    def step(self, image: Tensor, progress: float) -> tuple[Loss, float]:
        """Learn from a batch, each crop at a random quality.

        Args:
            image: this rank's share of the batch, float `[B, H, W, 3]` in 0..1, sides multiples of 64, on the network's
                device; all ranks' are equal in number.
            progress: share of the run that is done, 0..1.

        Returns:
            the losses per crop, and the learning rate of the step.

        Raises:
            MaepressError: when nothing has been learned from the last `MOST_LEFT_OUT` batches.
        """
        rate = learning_rate(self._peak, self._decay_share, self.counters.step, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        drawn = draw_step(
            self._seed,
            self.counters.step,
            image,
            rank=self._rank,
            world=self._world,
            channels=self.network.config.hyper_channels,
            hide=self._hide,
        )
        seen = hide_patches(image, drawn.hidden) if self._hide else image
        estimate = self.forward(seen, drawn.quality, drawn.noise)
        loss = rate_distortion(estimate, image, drawn.quality, self._distortion)
        with coarse_products():
            loss.total.mean().backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        if torch.isfinite(norm):  # the same on every rank; one bad batch must not corrupt the weights
            self.optimizer.step()
            self._left_out = 0
        else:
            self._left_out += 1
        if self._left_out == MOST_LEFT_OUT:
            raise MaepressError(
                f"the last {MOST_LEFT_OUT} batches had no finite gradient; "
                "try a lower --learning-rate or another --init, in a new folder"
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.counters.step += 1
        self.counters.pixels += self._world * image.shape[0] * image.shape[1] * image.shape[2]
        decay = min(AVERAGE, (1 + self.counters.step) / (10 + self.counters.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        return loss, rate

    def save(self, folder: Path) -> None:
        """Write this rank's part of a checkpoint into a local folder."""
        save_moments(folder, self._rank, self.network, self.optimizer)
        if self._rank == 0:
            save_state(folder, self.network, self.average, self.counters)

    def load(self, folder: Path) -> None:
        """Resume from a checkpoint of the same kind of network, written by any number of ranks."""
        self.counters = load_state(folder, self.network, self.average, self.optimizer)
