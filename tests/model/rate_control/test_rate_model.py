"""Predicted curves follow the rounding error, rise with the quality, and improve with trials."""

import numpy as np
import pytest

from model.core.config import BLOCK_VALUES
from model.inference.latent_sample import LatentSample
from model.rate_control.quality_search import QUALITY_STEPS, at_every_step
from model.rate_control.rate_model import (
    FARTHEST,
    FEATURES,
    KNOTS,
    CurveEstimate,
    CurvePrior,
    ExpectedCurve,
    estimate_curves,
    knot_steps,
)

CHANNELS = BLOCK_VALUES  # as many as an orthonormal transform has, so that the estimate is the whole error
GAINS = np.geomspace(20, 800, 64, dtype=np.float32)[:, None].repeat(CHANNELS, 1)


def estimated(scale: float = 1.0, decay: float = 0.0) -> CurveEstimate:
    """Estimate of an image whose channels decay exponentially."""
    spread = scale * np.exp(-decay * np.arange(CHANNELS))
    latents = np.random.default_rng(0).normal(0, spread, (64, CHANNELS)).astype(np.float32)
    return estimate_curves(LatentSample(latents, np.zeros((64, 2), np.float32)), GAINS, 640 * 480)


def test_with_fine_quantisation_steps_the_error_is_that_of_uniform_rounding() -> None:
    # Rounding up from 0.6: a third of (0.6^3 + 0.4^3) steps squared, and that of the output's 8
    # bits.
    step = 1 / GAINS[:, 0]
    expected = -10 * np.log10((0.6**3 + 0.4**3) / 3 * step**2 + 1 / (12 * 255**2))
    np.testing.assert_allclose(estimated().psnr, at_every_step(expected), atol=0.05)


def test_with_more_contrast_the_same_error_costs_less_similarity() -> None:
    quiet, loud = estimated(), estimated(4)
    np.testing.assert_allclose(quiet.psnr, loud.psnr, atol=0.1)
    assert (loud.ms_ssim > quiet.ms_ssim + 10).all()


@pytest.mark.parametrize(("measure", "off"), [("psnr", 0.4), ("ms_ssim", 0.4), ("ssimulacra2", 0.4), ("bytes", 0.04)])
def test_expected_curves_rise_and_pass_near_measured_values(measure: str, off: float) -> None:
    expected = ExpectedCurve(estimated(decay=0.02), measure)
    before = expected.given({})
    assert before.shape == (QUALITY_STEPS,)
    known = {100: before[100] - off, 180: before[180] - 2 * off}
    after = expected.given(known)
    for curve in (before, after):
        assert (np.diff(curve) >= 0).all()
    for step, value in known.items():
        assert abs(after[step] - value) < abs(before[step] - value) / 4


def test_one_trial_determines_curves_that_differ_in_one_parameter() -> None:
    # Curves that differ from the estimate only by a shift that grows with the quality.
    bare, knots = estimated(), np.array(knot_steps())
    amounts = np.random.default_rng(1).normal(0, 1, 50)
    rows = np.array([[*(a * knots / QUALITY_STEPS), *bare.features()] for a in amounts])
    expected = ExpectedCurve(bare, "psnr", {"psnr": CurvePrior.of(rows)})
    truth = bare.psnr + 0.7 * np.arange(QUALITY_STEPS) / QUALITY_STEPS
    np.testing.assert_allclose(expected.given({120: truth[120]}), truth, atol=0.02)


def test_an_image_unlike_all_photographs_is_expected_to_be_like_the_farthest_of_them() -> None:
    random = np.random.default_rng(2)
    features = random.normal(0, 1, (400, FEATURES))
    curves = features[:, :1] * np.ones(len(KNOTS)) + random.normal(0, 0.1, (400, len(KNOTS)))
    prior = CurvePrior.of(np.hstack([curves, features]))
    at = np.eye(FEATURES)[0]
    near, far, farther = (prior.given(factor * at).mean for factor in (2, 100, 1000))
    np.testing.assert_allclose(near, 2, atol=0.3)
    np.testing.assert_allclose(far, FARTHEST, rtol=0.1)
    np.testing.assert_allclose(farther, far, rtol=0.02)
