"""Groups hashes that differ in few bits, without comparing all pairs.

The 64 bits are cut into `distance` + k bands. Of two hashes that differ in at most `distance` bits, at least k bands
are equal, because each bit that differs touches one band. So hashes are sorted by each choice of k bands in turn, and
only those with equal bands are compared (multi-index hashing: Norouzi, Punjani, Fleet, "Fast search in Hamming space
with multi-index hashing", 2012). More bands mean fewer comparisons and more sorts; k is chosen by the number of hashes.

Hashes that are near each other are joined (union-find), so memory does not grow with the number of pairs. The groups
are therefore connected: each hash is near another one of its group, and not necessarily near all of them.
"""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from model.core.jit import Array, compiled

BITS = 64
_MOST_BANDS = 3
_SORT_COST = 40
"""Comparisons that take as long as sorting one hash."""


def groups_of(hashes: NDArray[np.int64], distance: int) -> NDArray[np.int64]:
    """A number for each hash, the same for all hashes of a group.

    Args:
        hashes: int64, each at most once.
        distance: bits in which two hashes that are joined differ at most, 0..10.
    """
    parent = np.arange(len(hashes), dtype=np.int64)
    if distance == 0 or len(hashes) < 2:
        return parent
    words = hashes.view(np.uint64)
    for mask in masks(len(hashes), distance):
        masked = words & np.uint64(mask)
        order = np.argsort(masked, kind="stable")
        _join(words[order], masked[order], order, parent, distance)
    _flatten(parent)
    return parent


def masks(count: int, distance: int) -> list[int]:
    """Bit masks, of which two hashes within the distance agree in at least one; few comparisons for `count` hashes."""
    choices = [_choice(count, distance, together) for together in range(1, _MOST_BANDS + 1)]
    return min(choices, key=lambda choice: choice[0])[1]


def _choice(count: int, distance: int, together: int) -> tuple[float, list[int]]:
    """The cost and the masks of comparing hashes that agree in `together` bands."""
    bands = distance + together
    ends = [BITS * i // bands for i in range(bands + 1)]
    single = [(1 << end) - (1 << begin) for begin, end in itertools.pairwise(ends)]
    made = [sum(some) for some in itertools.combinations(single, together)]
    pairs = count * count / 2 ** (1 + BITS * together / bands)
    return math.comb(bands, together) * (_SORT_COST * count + pairs), made


@compiled
def _join(words: Array, masked: Array, order: Array, parent: Array, distance: int) -> None:
    """Join near hashes among those with equal bands.

    Args:
        words: uint64, hashes, sorted by `masked`.
        masked: uint64, their bits in the bands.
        order: int64, their places in `parent`.
        parent: int64, the forest, which is changed.
        distance: bits in which two hashes differ at most.
    """
    one = np.uint64(1)
    begin = 0
    for end in range(1, len(words) + 1):
        if end < len(words) and masked[end] == masked[begin]:
            continue
        for i in range(begin, end):
            for j in range(i + 1, end):
                bits = words[i] ^ words[j]
                differ = 0
                while bits and differ <= distance:
                    bits &= bits - one
                    differ += 1
                if differ <= distance:
                    a, b = order[i], order[j]
                    while parent[a] != a:
                        parent[a] = parent[parent[a]]
                        a = parent[a]
                    while parent[b] != b:
                        parent[b] = parent[parent[b]]
                        b = parent[b]
                    parent[max(a, b)] = min(a, b)
        begin = end


@compiled
def _flatten(parent: Array) -> None:
    """Let each hash point to the root of its tree: a parent stands before its children."""
    for i in range(len(parent)):
        parent[i] = parent[parent[i]]
