"""What searches compare: the goal of each target, and trials on the same scale."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from model.core.target import Target
from model.metrics import ms_ssim, ssimulacra2
from model.rate_control.goal import Goal, fidelity_of
from model.rate_control.quality_search import QUALITY_STEPS, SLACK, TOLERANCE, TOLERANCE_SSIMULACRA2, Search


@dataclass(frozen=True)
class Trial:
    psnr: float | None = None
    ms_ssim: float | None = None
    ssimulacra2: float | None = None


def test_each_target_has_its_goal() -> None:
    assert Goal.of(Target(min_psnr=38), 100) == Goal("psnr", 38, TOLERANCE)
    assert Goal.of(Target(min_ms_ssim=0.98), 100) == Goal("ms_ssim", ms_ssim.decibels(0.98), TOLERANCE)
    assert Goal.of(Target(max_bpp=2), 100) == Goal("bytes", math.log(25), SLACK)
    goal = Goal.of(Target(min_ssimulacra2=80), 100)
    assert goal.value + goal.tolerance == pytest.approx(ssimulacra2.decibels(80 + TOLERANCE_SSIMULACRA2))
    assert goal == Goal.of_ssimulacra2(80)
    assert [Goal.of(target, 1).is_floor for target in (Target(min_psnr=1), Target(max_bpp=1))] == [True, False]


def test_a_trial_that_just_meets_a_floor_has_the_value_of_its_goal() -> None:
    for target, trial in (
        (Target(min_psnr=38), Trial(psnr=38)),
        (Target(min_ms_ssim=0.98), Trial(ms_ssim=0.98)),
        (Target(min_ssimulacra2=80), Trial(ssimulacra2=80)),
    ):
        goal = Goal.of(target, 1)
        assert fidelity_of(trial, goal.measure) == goal.value


def test_an_exact_picture_meets_every_floor_and_keeps_the_expected_curve_finite() -> None:
    highest = Target(min_psnr=100)
    assert fidelity_of(Trial(psnr=math.inf), "psnr") >= Goal.of(highest, 1).value
    search = Search(lambda known: np.linspace(30, 50, QUALITY_STEPS), 40, True, TOLERANCE)
    step = search.propose()
    assert step is not None
    search.record(step, fidelity_of(Trial(psnr=math.inf), "psnr"))
    assert np.isfinite(search.again().expect({})).all()
    assert search.best() == step
