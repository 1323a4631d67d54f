"""Size-weighted samples represent the bytes of a listing, whatever its sizes and their order."""

import random
from collections.abc import Iterator

import pytest

from pipeline.estimate.byte_sampling import (
    Interval,
    mean_interval,
    ratio_interval,
    size_weighted_sample,
    weighted_mean,
)
from pipeline.storage.base import Entry


def listing(sizes: list[int]) -> list[Entry]:
    return [Entry(f"{i:09}", size, "e") for i, size in enumerate(sizes)]


def uneven(count: int, seed: int = 0) -> list[int]:
    rng = random.Random(seed)
    return [int(rng.lognormvariate(11, 1.5)) for _ in range(count)]


def test_a_small_listing_is_taken_whole() -> None:
    sample = size_weighted_sample(listing([5, 0, 7]), 20, random.Random(0))
    assert sample.census
    assert [entry.size for entry in sample.entries] == [5, 0, 7]
    assert (sample.objects, sample.source_bytes) == (3, 12)


@pytest.mark.parametrize("count", [21, 100, 1_000, 50_000])
@pytest.mark.parametrize("size", [1, 100_000, 10**12])
def test_a_sample_is_never_too_large_and_covers_the_whole_key_range(count: int, size: int) -> None:
    sample = size_weighted_sample(listing([size] * count), 20, random.Random(count))
    if count * size < 20 * 4096:  # too few bytes for that many intervals
        return
    assert 7 <= len(sample.entries) <= 20
    places = [int(entry.key) / count for entry in sample.entries]
    assert places == sorted(places)
    assert max(b - a for a, b in zip([0.0, *places], [*places, 1.0], strict=True)) < 2.01 / len(places) + 1 / count


def test_objects_are_drawn_in_proportion_to_their_bytes() -> None:
    entries = listing([1000, 9000] * 2_000)
    drawn = [
        entry.size for seed in range(20) for entry in size_weighted_sample(entries, 100, random.Random(seed)).entries
    ]
    assert 0.86 < drawn.count(9000) / len(drawn) < 0.94


def test_memory_does_not_grow_with_the_listing() -> None:
    def endless() -> Iterator[Entry]:
        yield from (Entry(f"{i:09}", 100_000, "e") for i in range(300_000))

    sample = size_weighted_sample(endless(), 50, random.Random(0))
    assert sample.objects == 300_000
    assert len(sample.entries) <= 50


@pytest.mark.parametrize("trend", ["none", "by key", "by size"])
def test_the_interval_contains_the_truth_in_95_of_100_samples(trend: str) -> None:
    sizes = uneven(5_000)
    rng = random.Random(1)
    middle = {
        "none": lambda i, size: 0.4,
        "by key": lambda i, size: 0.2 if i < 2_500 else 0.6,
        "by size": lambda i, size: 0.8 if size < 50_000 else 0.3,
    }[trend]
    ratios = [min(1.0, max(0.01, middle(i, size) + rng.gauss(0, 0.15))) for i, size in enumerate(sizes)]
    truth = sum(r * s for r, s in zip(ratios, sizes, strict=True)) / sum(sizes)
    entries = listing(sizes)
    hits = widths = 0.0
    for seed in range(200):
        sample = size_weighted_sample(entries, 300, random.Random(seed))
        found = mean_interval([ratios[int(entry.key)] for entry in sample.entries], most=1.0)
        hits += found.low <= truth <= found.high
        widths += found.high - found.low
    assert hits >= 186  # 95 % of 200, less two standard deviations
    assert widths / 200 < 0.08  # and the interval is narrow enough to be of use


def test_the_interval_of_few_points_is_students() -> None:
    found = mean_interval([0.2, 0.4] * 3)
    assert found.value == pytest.approx(0.3)
    assert found.high - found.value == pytest.approx(3.182446 * (0.02 / 6) ** 0.5, rel=1e-6)  # t(3 degrees, 97.5 %)


def test_a_census_is_exact() -> None:
    found = weighted_mean([0.5, 0.1], [100, 300])
    assert found.low == found.value == found.high == pytest.approx(0.2)


def test_the_complement_has_the_mirrored_interval() -> None:
    left = mean_interval([0.2, 0.4, 0.3]).times(10).complement(10)
    assert left.low < left.value < left.high
    assert left.value == pytest.approx(7)


@pytest.mark.parametrize("objects", [40, 250])
def test_the_interval_of_another_codec_contains_the_truth_though_small_objects_compress_worse(objects: int) -> None:
    rng = random.Random(2)
    inside = inside_by_mean = 0
    for _ in range(300):
        sizes = [rng.lognormvariate(11, 0.7) for _ in range(objects)]
        ours = [size * min(1.0, (20_000 / size) ** 0.3 * rng.uniform(0.6, 1.0)) for size in sizes]
        others = [bytes_ * rng.lognormvariate(0.1, 0.25) for bytes_ in ours]
        compared = slice(None, None, -(-objects // 20))
        absent = 1 - len(others[compared]) / objects
        found = ratio_interval(
            others[compared], ours[compared], weighted_mean(ours, [1] * objects).times(objects), absent
        )
        inside += found.low <= sum(others) <= found.high
        ratios = [other / size for other, size in zip(others[compared], sizes[compared], strict=True)]
        mean = mean_interval(ratios).times(sum(sizes))
        inside_by_mean += mean.low <= sum(others) <= mean.high
    assert inside >= 270, "90 of 100"
    assert inside_by_mean < 240, "the mean of ratios was no estimate of the total"


def test_a_ratio_known_for_all_is_exact() -> None:
    found = ratio_interval([1.0, 2.0, 3.0], [2.0, 3.0, 5.0], Interval(10.0, 10.0, 10.0), 0.0)
    assert (found.value, found.low, found.high) == pytest.approx((6.0, 6.0, 6.0))


def test_what_is_not_known_of_the_base_is_not_known_of_the_other_either() -> None:
    found = ratio_interval([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], Interval(10.0, 8.0, 12.0), 0.5)
    assert (found.value, found.low, found.high) == pytest.approx((5.0, 4.0, 6.0))
