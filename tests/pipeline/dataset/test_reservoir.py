"""Reservoir sampling of a listing."""

from collections import Counter

from pipeline.dataset.reservoir import reservoir_sample
from pipeline.storage.base import Entry

ENTRIES = [Entry(f"{i:02d}", 1, "") for i in range(40)]


def test_a_sample_is_uniform_in_key_order_and_the_same_for_the_same_seed() -> None:
    sample, count = reservoir_sample(iter(ENTRIES), 10, 7)
    assert (len(sample), count) == (10, 40)
    assert [e.key for e in sample] == sorted(e.key for e in sample)
    assert reservoir_sample(iter(ENTRIES), 10, 7) == (sample, 40)
    assert reservoir_sample(iter(ENTRIES), 10, 8) != (sample, 40)
    drawn = Counter(e.key for seed in range(400) for e in reservoir_sample(iter(ENTRIES), 10, seed)[0])
    assert all(60 < drawn[e.key] < 140 for e in ENTRIES)  # each in a quarter of 400


def test_a_small_listing_is_taken_whole() -> None:
    assert reservoir_sample(iter(ENTRIES), 100, 0) == (ENTRIES, 40)


def test_an_empty_listing_has_an_empty_sample() -> None:
    assert reservoir_sample(iter(()), 10, 0) == ([], 0)
