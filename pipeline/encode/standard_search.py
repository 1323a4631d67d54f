"""Search for the quality of a standard codec that meets a target on what its decoder gives.

It is the search of our own codec (`model.rate_control.quality_search`) on the qualities of another:
the mean curve of photographs says where to begin, each trial moves it, and the search ends at a
trial within the same tolerance, or where no quality is left between one that misses and one that
meets. No torch.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.metrics import ms_ssim, ssimulacra2
from model.metrics.psnr import psnr
from model.rate_control.goal import Goal, fidelity_of
from model.rate_control.quality_search import Search
from pipeline.encode.standard_curves import mean_curve
from pipeline.images.standard_codecs import STANDARD, Pixels, StandardCodec, decode

NO_SMALLER = 1.02
"""A trial that misses its floor rules its codec out if it has this many times the bytes to beat.

More fidelity takes more bytes, but for a percent or two of noise in encoders."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A file, its quality, and the fidelity of what its decoder gives; None where that is not measured."""

    codec: str
    quality: float
    file: bytes = field(repr=False)
    psnr: float
    ms_ssim: float | None
    ssimulacra2: float | None


@dataclass(frozen=True, slots=True)
class Searched:
    """The outcome of a search.

    Attributes:
        best: the file, None if no quality meets the goal, or none that is smaller than what is to beat.
        ruled_out: whether the search ended early, as no file would beat the bytes given.
        trials: number of encodes.
    """

    best: Trial | None
    ruled_out: bool
    trials: int


def search(
    codec: str, pixels: Pixels, goal: Goal, *, beat: int | None = None, besides: int = 0, score: bool = False
) -> Searched:
    """Find the file of a codec that meets a goal, and not by more than its tolerance where a quality allows that.

    Args:
        codec: one of `STANDARD`.
        pixels: of the picture.
        goal: what to meet.
        beat: bytes of a payload that is there already: the search ends when no smaller one can be expected.
        besides: bytes that a payload has besides the file.
        score: measure SSIMULACRA2 of each trial, whatever the goal.
    """
    one = STANDARD[codec]
    height, width, _ = pixels.shape
    if max(height, width) > one.longest:
        return Searched(None, False, 0)
    steps = len(one.qualities)
    prior = mean_curve(codec, goal.measure, height * width)
    looking = Search(functools.partial(expected, prior), goal.value, goal.is_floor, goal.tolerance, steps)
    kept: Trial | None = None
    count = 0
    while (step := looking.propose()) is not None:
        trial = _tried(one, pixels, one.qualities[step], goal.measure, score)
        size, count = len(trial.file) + besides, count + 1
        value = fidelity_of(trial, goal.measure) if goal.is_floor else math.log(size)
        looking.record(step, value)
        if looking.best() == step:
            kept = trial
        if beat is not None and goal.is_floor and value < goal.value and size >= NO_SMALLER * beat:
            return Searched(None, True, count)
    return Searched(kept, False, count)


def expected(prior: NDArray[np.float64], known: Mapping[int, float]) -> NDArray[np.float64]:
    """The mean curve, bent so that it passes through the known values."""
    if not known:
        return prior
    places = sorted(known)
    errors = [known[place] - prior[place] for place in places]
    bent: NDArray[np.float64] = prior + np.interp(np.arange(len(prior)), places, errors)
    return np.maximum.accumulate(bent)


def _tried(one: StandardCodec, pixels: Pixels, quality: float, measure: str, score: bool) -> Trial:
    height, width, planes = pixels.shape
    file = one.encode(pixels, quality)
    decoded = decode(one.name, file, width, height, grey=planes == 1)
    return Trial(
        one.name,
        quality,
        file,
        psnr(pixels, decoded),
        ms_ssim.ms_ssim(pixels, decoded) if measure == "ms_ssim" else None,
        ssimulacra2.ssimulacra2(pixels, decoded) if score or measure == "ssimulacra2" else None,
    )
