"""Estimates of WebP and AVIF against the truth: 179 photographs of clothing, of which each was encoded by all codecs.

`outcomes.csv` holds what `python -m bench.estimates clothing/test` measured at quality 40, in key order.
"""

import csv
import random
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.estimate.byte_sampling import size_weighted_sample
from pipeline.estimate.prices import read_prices
from pipeline.estimate.run import EstimateResult, scale_up
from pipeline.estimate.sample_encoder import COMPARED, EncodedObject, compared_places
from pipeline.estimate.settings import EstimateSettings
from pipeline.storage.base import Entry

ROUNDS = 100
PRICES = read_prices("")


@pytest.fixture(scope="module")
def outcomes() -> list[EncodedObject]:
    with Path(__file__).with_name("outcomes.csv").open() as file:
        return [
            EncodedObject(
                int(row["size"]),
                int(row["stored"]),
                row["status"],
                1,
                1.0,
                others=(int(row["webp"]), int(row["avif"])),
            )
            for row in csv.DictReader(file)
        ]


def estimated(outcomes: list[EncodedObject], sample: int, compare: int, seed: int) -> EstimateResult:
    """What an estimate of this source says: the sample is real, its encoding is looked up."""
    settings = EstimateSettings(source="s", sample=sample, compare=compare, seed=seed)
    drawn = size_weighted_sample(
        [Entry(f"{i:03}", one.size, "") for i, one in enumerate(outcomes)], sample, random.Random(seed)
    )
    places = compared_places(len(drawn.entries), compare, seed)
    encoded = [outcomes[int(entry.key)] for entry in drawn.entries]
    encoded = [one if i in places else replace(one, others=None) for i, one in enumerate(encoded)]
    return scale_up(settings, drawn, encoded, PRICES, "s3-standard", next(iter(PRICES.machines)))


@pytest.mark.parametrize(("sample", "compare"), [(300, 20), (300, 10), (80, 20), (40, 10)])
def test_the_truth_lies_in_the_interval_of_each_codec(outcomes: list[EncodedObject], sample: int, compare: int) -> None:
    found = [estimated(outcomes, sample, compare, seed) for seed in range(ROUNDS)]
    for i, codec in enumerate(COMPARED):
        truth = sum(one.others[i] for one in outcomes if one.others)
        intervals = [one.rival_bytes[codec.name] for one in found]
        held = sum(interval.low <= truth <= interval.high for interval in intervals)
        assert held >= 0.88 * ROUNDS, (codec.name, held)
        assert sum(interval.high - interval.low for interval in intervals) / ROUNDS < 0.25 * truth
        assert sum(interval.value for interval in intervals) / ROUNDS == pytest.approx(truth, rel=0.03)


def test_a_source_of_which_every_image_is_compared_is_known_exactly(outcomes: list[EncodedObject]) -> None:
    found = estimated(outcomes, 300, 300, 0)
    for i, codec in enumerate(COMPARED):
        interval, truth = found.rival_bytes[codec.name], sum(one.others[i] for one in outcomes if one.others)
        assert (interval.low, interval.value, interval.high) == pytest.approx((truth, truth, truth))


def test_an_object_under_several_points_is_counted_once() -> None:
    sizes = [1_000_000, *[5_000] * 30]
    drawn = size_weighted_sample([Entry(f"{i:02}", n, "") for i, n in enumerate(sizes)], 20, random.Random(0))
    keys = [entry.key for entry in drawn.entries]
    assert len(set(keys)) < len(keys), "the large object is under several points"
    encoded = [EncodedObject(sizes[int(key)], 500, "latent", 1, 1.0) for key in keys]
    settings = EstimateSettings(source="s")
    found = scale_up(settings, drawn, encoded, PRICES, "s3-standard", next(iter(PRICES.machines)))
    assert found.sampled == len(set(keys))


def test_compared_objects_are_spread_over_the_keys_and_differ_by_seed() -> None:
    places = compared_places(179, 20, 0)
    assert len(places) == 20
    assert [sum(low <= place < low + 36 for place in places) for low in range(0, 179, 36)] == [4] * 5
    assert places != compared_places(179, 20, 1)
    assert compared_places(5, 20, 0) == frozenset(range(5))
    assert compared_places(5, 0, 0) == frozenset()
