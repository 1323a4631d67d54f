"""Targets hold for the decoder's output, within the tolerance."""

from math import ceil, floor

import numpy as np
import pytest

from model.bitstream.container import FRACTIONS
from model.codec import Codec
from model.core.config import QUALITIES
from model.core.errors import MaepressError
from model.core.picture import Picture
from model.core.target import Target
from model.metrics.ms_ssim import decibels, ms_ssim
from model.metrics.psnr import psnr
from model.metrics.ssimulacra2 import ssimulacra2
from model.rate_control.quality_search import QUALITY_STEPS, SLACK, TOLERANCE, TOLERANCE_SSIMULACRA2, Search
from tests.conftest import photo_like, ssimulacra2_at


@pytest.fixture(scope="module")
def base() -> Codec:
    return Codec.load("base")


def pictures() -> list[Picture]:
    alpha = photo_like(180, 210, 1)[..., 0]
    return [
        Picture(photo_like(180, 210)),
        Picture(photo_like(180, 210, seed=3), alpha),
        Picture(photo_like(180, 210, 1, seed=5)),
        Picture(photo_like(40, 33, seed=7)),
    ]


@pytest.mark.parametrize("least", [33.0, 36.5])
def test_a_floor_of_psnr_holds_for_the_decoders_picture_and_is_just_met(base: Codec, least: float) -> None:
    for picture, latents in zip(pictures(), base.analyse(pictures(), Target(min_psnr=least)), strict=True):
        (decoded,) = base.decompress([base.coder.encode(latents)])
        measured = psnr(picture.pixels, decoded.pixels)
        assert latents.met
        assert measured == latents.psnr
        assert measured >= least
        if measured > least + TOLERANCE and latents.header.fine_quality > 0:  # in small pictures the measure jumps
            (less,) = base.analyse([picture], ceil(latents.header.fine_quality) - 1)
            assert less.psnr is not None and less.psnr < least


def test_a_floor_of_ms_ssim_holds_for_the_decoders_picture_and_is_just_met(base: Codec) -> None:
    for picture, latents in zip(pictures(), base.analyse(pictures(), Target(min_ms_ssim=0.97)), strict=True):
        (decoded,) = base.decompress([base.coder.encode(latents)])
        measured = ms_ssim(picture.pixels, decoded.pixels)
        assert latents.met
        assert measured == latents.ms_ssim
        assert measured >= 0.97
        if picture.width < 160:
            continue  # for smaller ones MS-SSIM neither rises steadily nor means much
        if decibels(measured) > decibels(0.97) + TOLERANCE and latents.header.fine_quality > 0:  # a jump
            (less,) = base.decompress(base.compress([picture], ceil(latents.header.fine_quality) - 1))
            assert ms_ssim(picture.pixels, less.pixels) < 0.97


@pytest.mark.parametrize("least", [45.0, 75.0])
def test_a_floor_of_ssimulacra2_holds_for_the_decoders_picture_and_is_just_met(base: Codec, least: float) -> None:
    for picture, latents in zip(pictures(), base.analyse(pictures(), Target(min_ssimulacra2=least)), strict=True):
        (decoded,) = base.decompress([base.coder.encode(latents)])
        measured = ssimulacra2(picture.pixels, decoded.pixels)
        assert latents.met
        assert measured == latents.ssimulacra2
        assert measured >= least
        if picture.width < 160:
            continue  # for smaller ones it does not rise steadily
        if measured > least + TOLERANCE_SSIMULACRA2 and latents.header.fine_quality > 0:  # a jump
            assert ssimulacra2_at(base, picture, latents.header.fine_quality - 1 / FRACTIONS) < least


@pytest.mark.parametrize("limit", [0.8, 2.5])
def test_a_limit_of_bits_holds_for_the_whole_payload_and_is_nearly_reached(base: Codec, limit: float) -> None:
    for picture, latents in zip(pictures(), base.analyse(pictures(), Target(max_bpp=limit)), strict=True):
        size = len(base.coder.encode(latents))
        allowed = limit * picture.width * picture.height / 8
        assert latents.met == (size <= allowed)
        assert latents.psnr is not None
        if size < allowed * (1 - SLACK) and latents.header.fine_quality < QUALITIES - 1:
            (more,) = base.compress([picture], floor(latents.header.fine_quality) + 1, metadata=False)
            assert len(more) > allowed


def test_an_unreachable_target_gives_the_nearest_result_and_an_error_says_so(base: Codec) -> None:
    noise = Picture(np.random.default_rng(0).integers(0, 256, (60, 70, 3)).astype(np.uint8))
    (high,) = base.analyse([noise], Target(min_psnr=60.0))
    assert not high.met
    assert high.header.fine_quality == (QUALITY_STEPS - 1) / FRACTIONS
    with pytest.raises(MaepressError, match=r"70x60 picture reaches at most \d+\.\d\d dB PSNR, not 60: ask for less"):
        base.compress([noise], Target(min_psnr=60.0))
    (low,) = base.analyse([noise], Target(max_bpp=0.05))
    assert not low.met
    assert low.header.fine_quality == 0
    with pytest.raises(MaepressError, match=r"70x60 picture takes at least \d\.\d+ bits per pixel, more than 0\.05"):
        base.compress([noise], Target(max_bpp=0.05))
    with pytest.raises(MaepressError, match=r"reaches at most 0\.\d+ MS-SSIM, not 0\.99999: ask for less"):
        base.compress([noise], Target(min_ms_ssim=0.99999))
    with pytest.raises(MaepressError, match=r"reaches at most -?\d+\.\d\d SSIMULACRA2, not 99: ask for less"):
        base.compress([noise], Target(min_ssimulacra2=99))


def test_a_target_of_quality_is_that_quality(base: Codec) -> None:
    picture = Picture(photo_like(50, 60))
    assert base.compress([picture], Target(quality=33)) == base.compress([picture], 33)


def test_a_batch_reaches_its_targets_as_each_picture_would_alone(base: Codec) -> None:
    some = pictures()[:2]
    together = base.analyse(some, Target(min_psnr=35.0))
    for picture, latents in zip(some, together, strict=True):
        (alone,) = base.analyse([picture], Target(min_psnr=35.0))
        assert abs(alone.header.fine_quality - latents.header.fine_quality) <= 1 / FRACTIONS


@pytest.mark.parametrize("above", [True, False])
def test_a_search_finds_the_best_step_of_any_rising_curve(above: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        curve = np.cumsum(rng.exponential(0.06, QUALITY_STEPS)) + rng.uniform(20, 30)
        guess = np.linspace(rng.uniform(15, 30), rng.uniform(31, 60), QUALITY_STEPS)
        goal, tolerance = rng.uniform(15, 50), rng.choice([0.0, 0.15])
        search, trials = Search(lambda _, guess=guess: guess, goal, above, tolerance), 0  # type: ignore[misc]
        while (step := search.propose()) is not None:
            search.record(step, curve[step])
            trials += 1
        good = np.flatnonzero(curve >= goal) if above else np.flatnonzero(curve <= goal)
        assert trials <= 20
        if good.size == 0:
            assert search.best() is None
            assert search.nearest() == (QUALITY_STEPS - 1 if above else 0)
            continue
        best = good[0] if above else good[-1]
        assert search.best() is not None
        assert abs(curve[search.best()] - goal) <= max(tolerance, abs(curve[best] - goal))


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("slope", [0.03, 0.1, 0.14])
def test_with_a_known_curve_one_trial_suffices(above: bool, slope: float) -> None:
    curve = np.linspace(20, 20 + slope * (QUALITY_STEPS - 1), QUALITY_STEPS, dtype=np.float64)
    for goal in np.linspace(21, 22, 77):
        search = Search(lambda _: curve, goal, above, 0.15)
        step = search.propose()
        assert step is not None
        search.record(step, curve[step])
        assert search.propose() is None
