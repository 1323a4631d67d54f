"""Guesses from a sample of latents: they rise with the quality and follow the rounding error."""

import numpy as np

from model.guess import VALUES, estimate, guess

CHANNELS = VALUES  # as many as an orthonormal transform has, so that the estimate is all of the error
GAINS = np.geomspace(20, 800, 64, dtype=np.float32)[:, None].repeat(CHANNELS, 1)


def latents() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(0, 1, (64, CHANNELS)).astype(np.float32)


def test_fine_steps_leave_the_error_of_even_rounding() -> None:
    found = estimate(latents(), GAINS)
    # Rounding up from 0.6: a third of (0.6^3 + 0.4^3) steps squared, and that of the output's 8 bits.
    step = 1 / GAINS[:, 0]
    expected = -10 * np.log10((0.6**3 + 0.4**3) / 3 * step**2 + 1 / (12 * 255**2))
    np.testing.assert_allclose(found.psnr, expected, atol=0.05)


def test_where_there_is_more_contrast_the_same_error_costs_less_similarity() -> None:
    quiet, loud = estimate(latents(), GAINS), estimate(latents() * 4, GAINS)
    np.testing.assert_allclose(quiet.psnr, loud.psnr, atol=0.1)
    assert (loud.ms_ssim > quiet.ms_ssim + 10).all()


def test_guesses_rise_with_the_quality() -> None:
    found = guess(latents(), GAINS)
    for values in (found.psnr, found.ms_ssim, found.bytes):
        assert values.shape == (64,)
        assert (np.diff(values) >= 0).all()
