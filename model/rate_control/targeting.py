"""Pressing pictures to a floor of fidelity or a limit of size.

The latents y are made once; each trial is a quantisation, a reconstruction and a measurement of the whole picture.
Where to begin is guessed from a sample of y (`model.rate_control.rate_model`).
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
from model.inference.quantisation_pass import Quantised
from model.metrics.ms_ssim import decibels
from model.rate_control.quality_search import Search
from model.rate_control.rate_model import CurveEstimate, CurvePrior, ExpectedCurve, estimate_curves

TOLERANCE = 0.15
"""How far above its floor, in dB, a picture may land."""
SLACK = 0.02
"""How far below its limit, as a share of the bytes, a picture may land."""
SAMPLE = 256
"""Positions of latents that a guess is made from."""


@dataclass(frozen=True, eq=False, slots=True)
class Reached:
    """The trial to keep, and whether it meets the target."""

    pressed: Quantised
    met: bool


class Targeting:
    """One target, for pictures of one model."""

    def __init__(
        self, target: Target, gains: NDArray[np.float32], payload_size: Callable[[Picture, Quantised], int]
    ) -> None:
        """What to reach.

        Args:
            target: a floor or a limit.
            gains: of all qualities, float `[QUALITIES, M]`.
            payload_size: bytes of a picture's payload without metadata.
        """
        self._target = target
        self._gains = gains
        self._payload_size = payload_size
        self._floor = target.max_bpp is None

    def reach(self, encoder: Encoder, *, check: bool) -> list[Reached]:
        """Try qualities until each of the encoder's pictures just meets the target, or nearly.

        Args:
            encoder: of pictures of one size.
            check: measure the PSNR of each, whatever the target.
        """
        searches = self._searches(encoder)
        kept: dict[int, Quantised] = {}
        checked = self._floor  # for a limit from the second trial on: the first seldom lands
        while members := {i: step for i, s in enumerate(searches) if (step := s.propose()) is not None}:
            made = self._try(encoder, list(members), list(members.values()), check=checked)
            checked = self._floor or check
            for (i, step), pressed in zip(members.items(), made, strict=True):
                searches[i].record(step, self._value(encoder.pictures[i], pressed))
                if searches[i].nearest() == step:
                    kept[i] = pressed
        if check and (rest := [i for i, pressed in kept.items() if pressed.psnr is None]):
            kept |= zip(rest, encoder.quantise(rest, [kept[i].fine_quality for i in rest], check=True), strict=True)
        return [Reached(kept[i], s.best() is not None) for i, s in enumerate(searches)]

    def _try(self, encoder: Encoder, members: Sequence[int], steps: Sequence[int], *, check: bool) -> list[Quantised]:
        return encoder.quantise(
            members,
            [step / FRACTIONS for step in steps],
            check=check,
            similarity=self._target.min_ms_ssim is not None,
        )

    def _searches(self, encoder: Encoder) -> list[Search]:
        return [self._search(*each) for each in zip(encoder.sample(SAMPLE), encoder.pictures, strict=True)]

    def _search(self, sample: LatentSample, picture: Picture) -> Search:
        """A search for one picture."""
        pixels = picture.width * picture.height
        return search_for(self._target, estimate_curves(sample, self._gains, pixels), pixels)

    def _value(self, picture: Picture, pressed: Quantised) -> float:
        """What a search compares with its goal."""
        if self._target.max_bpp is not None:
            return math.log(self._payload_size(picture, pressed))
        if self._target.min_psnr is not None:
            assert pressed.psnr is not None
            return pressed.psnr
        assert pressed.ms_ssim is not None
        return decibels(pressed.ms_ssim)


def search_for(
    target: Target, bare: CurveEstimate, pixels: int, priors: Mapping[str, CurvePrior] | None = None
) -> Search:
    """A search for a floor or a limit, of which nothing is measured yet.

    Args:
        target: what to reach; no quality.
        bare: estimate of the picture.
        pixels: of it.
        priors: what is expected of pictures, by measure; without them what the shipped model's curves are like.
    """
    if target.max_bpp is not None:
        size = math.log(target.max_bpp * pixels / 8)
        return Search(ExpectedCurve(bare, "bytes", priors).given, size, False, SLACK)
    if target.min_psnr is not None:
        return Search(ExpectedCurve(bare, "psnr", priors).given, target.min_psnr, True, TOLERANCE)
    assert target.min_ms_ssim is not None
    return Search(ExpectedCurve(bare, "ms_ssim", priors).given, decibels(target.min_ms_ssim), True, TOLERANCE)
