"""Near hashes are found whatever bits differ, exactly those that comparing all pairs would join."""

import numpy as np
import pytest

from pipeline.duplicates.near import groups_of, masks


def by_all_pairs(hashes: list[int], distance: int) -> set[frozenset[int]]:
    """The connected groups, as sets of places."""
    groups = [{place} for place in range(len(hashes))]
    for i, a in enumerate(hashes):
        for j, b in enumerate(hashes[:i]):
            if ((a ^ b) % (1 << 64)).bit_count() <= distance:
                one, other = (next(group for group in groups if place in group) for place in (i, j))
                if one is not other:
                    groups.remove(other)
                    one |= other
    return {frozenset(group) for group in groups}


def around(rng: np.random.Generator, centres: int, each: int, bits: int) -> list[int]:
    """Hashes that differ from some centres in 0 to `bits` bits, each once."""
    made = []
    for centre in rng.integers(-(1 << 63), (1 << 63) - 1, centres):
        for _ in range(each):
            flips = rng.choice(64, rng.integers(bits + 1), replace=False)
            mask = sum(1 << int(flip) for flip in flips)
            made.append(int(centre) ^ (mask - (1 << 64) if mask >> 63 else mask))
    return list(dict.fromkeys(made))


@pytest.mark.parametrize("distance", [0, 1, 2, 4, 7, 10])
def test_the_groups_are_those_of_comparing_all_pairs(distance: int) -> None:
    rng = np.random.default_rng(distance)
    hashes = around(rng, 12, 8, 6)
    labels = groups_of(np.array(hashes, np.int64), distance)
    found = {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}
    assert found == by_all_pairs(hashes, distance)
    assert distance not in (2, 4) or 1 < len(found) < len(hashes)


@pytest.mark.parametrize("count", [10, 10**5, 10**8])
@pytest.mark.parametrize("distance", [1, 4, 10])
def test_hashes_within_the_distance_agree_under_a_mask(count: int, distance: int) -> None:
    rng = np.random.default_rng(count + distance)
    chosen = masks(count, distance)
    for _ in range(200):
        differ = sum(1 << int(bit) for bit in rng.choice(64, distance, replace=False))
        assert any(not differ & mask for mask in chosen)


def test_no_hash_and_one_are_groups_of_their_own() -> None:
    assert groups_of(np.empty(0, np.int64), 4).tolist() == []
    assert groups_of(np.array([5]), 4).tolist() == [0]
