"""Targets: exactly one, in its range."""

import math

import pytest

from model.core.errors import MaepressError
from model.core.target import Target, rounded_down


def test_exactly_one_target_is_given() -> None:
    with pytest.raises(MaepressError, match=r"one of --quality, --min-psnr, --min-ms-ssim, --min-ssimulacra2 or --max"):
        Target()
    with pytest.raises(MaepressError, match=r"--quality and --max-bpp exclude each other: give exactly one of them"):
        Target(quality=3, max_bpp=0.5)


OUT_OF_RANGE = {
    "quality": (-1, 64),
    "min_psnr": (0.0, 101.0, float("nan")),
    "min_ms_ssim": (0.0, 1.0),
    "min_ssimulacra2": (-101.0, 100.0, float("nan")),
    "max_bpp": (0.0, float("inf")),
}


@pytest.mark.parametrize(("name", "value"), [(name, v) for name, values in OUT_OF_RANGE.items() for v in values])
def test_targets_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(MaepressError, match="out of range"):
        Target(**{name: value})  # type: ignore[arg-type]


def test_the_limits_of_every_range_can_be_chosen_where_they_belong_to_it() -> None:
    for name, value in (
        ("quality", 0),
        ("quality", 63),
        ("min_psnr", 100),
        ("min_ssimulacra2", -100),
        ("max_bpp", 1000),
    ):
        assert Target(**{name: value}).described() == f"{name} {value}"  # type: ignore[arg-type]


def test_a_number_is_a_quality() -> None:
    assert Target.of(7) == Target(quality=7)
    assert Target.of(Target(min_psnr=38.0)).min_psnr == 38.0


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(37.998, 2, "37.99"), (38.0, 2, "38.00"), (-3.141, 2, "-3.15"), (0.999996, 5, "0.99999"), (math.inf, 2, "inf")],
)
def test_what_misses_a_target_is_not_rounded_up_to_it(value: float, digits: int, text: str) -> None:
    assert rounded_down(value, digits) == text
