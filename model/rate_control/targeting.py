"""Encoding of pictures to a floor of fidelity or a limit of size.

The latents y are computed once; each trial quantises, reconstructs and measures the whole picture.
The first quality to try is predicted from a sample of y (`model.rate_control.rate_model`).

With a refinement, a search without it comes first, because its trials are cheap; a second one tries
refined latents from where the first ended. A floor is met by the smaller of the two results, so
that an image for which refining does not pay takes no more than without.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.bitstream.container import FRACTIONS
from model.core.picture import Picture
from model.core.target import Target
from model.inference.encoder import Encoder
from model.inference.latent_sample import LatentSample
from model.inference.quantisation_pass import Metric, Quantised
from model.inference.refinement import Refinement
from model.rate_control.goal import Goal, fidelity_of
from model.rate_control.quality_search import Search
from model.rate_control.rate_model import CurveEstimate, CurvePrior, ExpectedCurve, estimate_curves

SAMPLE = 256
"""Number of positions of latents from which the curves are predicted."""


@dataclass(frozen=True, eq=False, slots=True)
class Reached:
    """The chosen trial, and whether it meets the target."""

    quantised: Quantised
    met: bool


class Targeting:
    """Encodes pictures to one target with one model."""

    def __init__(
        self,
        target: Target,
        gains: NDArray[np.float32],
        payload_size: Callable[[Picture, Quantised], int],
        also: Sequence[Metric] = (),
        refine: Refinement | None = None,
    ) -> None:
        """Set the target.

        Args:
            target: a floor or a limit.
            gains: quantisation steps per unit of y at every quality, float `[QUALITIES, M]`.
            payload_size: function that returns the bytes of a picture's payload without metadata.
            also: metrics to measure beside that of the target, if the PSNR is measured.
            refine: how to refine latents; None: not at all.
        """
        self._target = target
        self._gains = gains
        self._payload_size = payload_size
        self._refine = refine
        goal = Goal.of(target, pixels=1)  # of a limit the value depends on the picture, the measure does not
        self._measure, self._floor = goal.measure, goal.is_floor
        floors: dict[Metric, float | None] = {"ms_ssim": target.min_ms_ssim, "ssimulacra2": target.min_ssimulacra2}
        self._also = [metric for metric, floor in floors.items() if floor is not None or metric in also]

    def reach(self, encoder: Encoder, *, check: bool) -> list[Reached]:
        """Try qualities until each of the encoder's pictures meets the target within the tolerance.

        Args:
            encoder: of pictures of one size.
            check: measure the PSNR of each, whatever the target.
        """
        searches = self._searches(encoder)
        plain = self._run(encoder, searches, None, check=check)
        if self._refine is None:
            return plain
        refined = self._run(encoder, [search.again() for search in searches], self._refine, check=check)
        return list(map(self._better, encoder.pictures, plain, refined))

    def _run(
        self, encoder: Encoder, searches: Sequence[Search], refine: Refinement | None, *, check: bool
    ) -> list[Reached]:
        """Search for each picture, without refinement or with it."""
        kept: dict[int, Quantised] = {}
        checked = self._floor  # for a limit of size from the second trial on: the first is seldom the last
        while members := {i: step for i, s in enumerate(searches) if (step := s.propose()) is not None}:
            qualities = [step / FRACTIONS for step in members.values()]
            also = self._also if checked else ()
            made = encoder.quantise(list(members), qualities, check=checked, also=also, refine=refine)
            checked = self._floor or check
            for (i, step), quantised in zip(members.items(), made, strict=True):
                searches[i].record(step, self._value(encoder.pictures[i], quantised))
                if searches[i].nearest() == step:
                    kept[i] = quantised
        if check and (rest := [i for i, quantised in kept.items() if quantised.psnr is None]):
            qualities = [kept[i].fine_quality for i in rest]
            measured = encoder.quantise(rest, qualities, check=True, also=self._also, refine=refine)
            kept |= zip(rest, measured, strict=True)
        return [Reached(kept[i], s.best() is not None) for i, s in enumerate(searches)]

    def _better(self, picture: Picture, plain: Reached, refined: Reached) -> Reached:
        """Of two results the one that meets the target; of a floor the smaller one, or, if it is missed, the nearer."""
        if plain.met != refined.met:
            return plain if plain.met else refined
        if not self._floor:
            return refined
        if not plain.met:
            return max(refined, plain, key=lambda reached: self._value(picture, reached.quantised))
        return min(refined, plain, key=lambda reached: self._payload_size(picture, reached.quantised))

    def _searches(self, encoder: Encoder) -> list[Search]:
        return [self._search(*each) for each in zip(encoder.sample(SAMPLE), encoder.pictures, strict=True)]

    def _search(self, sample: LatentSample, picture: Picture) -> Search:
        """A search for one picture."""
        pixels = picture.width * picture.height
        return search_for(self._target, estimate_curves(sample, self._gains, pixels), pixels)

    def _value(self, picture: Picture, quantised: Quantised) -> float:
        """The value that a search compares with its goal."""
        if not self._floor:
            return math.log(self._payload_size(picture, quantised))
        return fidelity_of(quantised, self._measure)


def search_for(
    target: Target, bare: CurveEstimate, pixels: int, priors: Mapping[str, CurvePrior] | None = None
) -> Search:
    """A search for a floor or a limit, before the first trial.

    Args:
        target: a floor or a limit.
        bare: estimate of the picture.
        pixels: number of pixels of the picture.
        priors: by measure; by default those of the shipped model.
    """
    goal = Goal.of(target, pixels)
    return Search(ExpectedCurve(bare, goal.measure, priors).given, goal.value, goal.is_floor, goal.tolerance)
