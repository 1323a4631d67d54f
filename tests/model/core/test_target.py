"""Targets: exactly one, in its range."""

import pytest

from model.core.errors import MaepressError
from model.core.target import Target


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
