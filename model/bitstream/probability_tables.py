"""Probability tables of integer counts, which encoder and decoder read instead of computing. No torch.

The counts of a table sum to 2^24; each is at least 1. They are part of the checkpoint, so that all
machines use the same ones.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.core.config import QUALITIES

TOTAL = 1 << 24
SCALES = 64
SCALE_MIN, SCALE_MAX = 0.13, 128.0
"""Standard deviations, in quantisation steps, of scale index 0 and 63.

Symbols of index 0 are not coded; 1 in 8,000 is not zero and becomes an escape.
"""
LOG_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALES - 1)
HYPER_MAX = 127
"""Hyper-latents are integers in -127..127."""
HYPER_GROUP = 8
"""Number of neighbouring qualities that share a prior of z."""


@dataclass(frozen=True, eq=False, slots=True)
class Tables:
    """The probability tables of a model.

    Attributes:
        latent: for each of the 64 scale indices, int32 counts of the symbols -limit..limit.
        hyper: int32 `[groups, Z, 255]`, counts of z = -127..127 for each group of eight qualities.
    """

    latent: list[NDArray[np.int32]]
    hyper: NDArray[np.int32]

    def are_sound(self) -> bool:
        """Whether every table is usable: int32, symmetric about zero, counts of at least 1 that sum to 2^24."""
        groups = QUALITIES // HYPER_GROUP
        if len(self.latent) != SCALES or self.hyper.shape[::2] != (groups, 2 * HYPER_MAX + 1):
            return False
        return all(
            table.dtype == np.int32
            and table.shape[-1] % 2 == 1
            and bool((table >= 1).all())
            and bool((table.sum(-1, dtype=np.int64) == TOTAL).all())
            for table in (*self.latent, self.hyper)
        )


def scale_table() -> list[float]:
    """Standard deviation of each of the 64 scale indices."""
    return [SCALE_MIN * math.exp(i * LOG_STEP) for i in range(SCALES)]


def mixture_counts(sigma: list[float], weight: list[float]) -> NDArray[np.int32]:
    """Counts of the symbols -limit..limit for a zero-mean mixture of Gaussians integrated over unit bins.

    About one symbol in 10,000 is beyond the limit; the outermost counts include those
    (`model.bitstream.escapes`).

    Args:
        sigma: standard deviation of each component, in quantisation steps.
        weight: of each component; they sum to 1.
    """
    limit = max(1, math.ceil(4 * max(sigma)))
    edges = np.arange(-limit, limit) + 0.5
    below = sum(
        w * np.array([0.5 * math.erfc(-e / (s * math.sqrt(2))) for e in edges])
        for s, w in zip(sigma, weight, strict=True)
    )
    return to_counts(np.diff(np.concatenate([[0.0], np.asarray(below), [1.0]])))


def to_counts(probability: NDArray[np.float64]) -> NDArray[np.int32]:
    """Probabilities along the last axis to integers of at least 1 that sum to 2^24.

    The most probable one takes the rounding error.
    """
    probability = probability / probability.sum(-1, keepdims=True)
    counts = 1 + np.floor(probability * (TOTAL - probability.shape[-1])).astype(np.int64)
    top = counts.argmax(-1)[..., None]
    rest = TOTAL - counts.sum(-1, keepdims=True)
    np.put_along_axis(counts, top, np.take_along_axis(counts, top, -1) + rest, -1)
    integers: NDArray[np.int32] = counts.astype(np.int32)
    return integers
