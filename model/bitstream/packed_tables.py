"""Probability tables in the form in which the compiled kernels of the entropy coder read them. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.bitstream.probability_tables import TOTAL

GUESS_BITS = 8
"""Upper bits of a slot of 24 bits by which the search for its symbol begins."""


@dataclass(frozen=True, eq=False, slots=True)
class PackedTables:
    """Tables one after the other. The first one is empty: index 0 is not coded.

    Attributes:
        limits: largest absolute value of a symbol of each table, int64 `[T]`.
        begins: where each table begins in `sums`, int64 `[T]`.
        sums: cumulative counts of each table, from 0 to 2^24, int64.
        guesses: for each value of a slot's upper bits, the first symbol whose counts may hold the
            slot, uint16 `[T, 256]`.
    """

    limits: NDArray[np.int64]
    begins: NDArray[np.int64]
    sums: NDArray[np.int64]
    guesses: NDArray[np.uint16]

    @classmethod
    def of(cls, tables: Sequence[NDArray[np.int32]]) -> "PackedTables":
        """Pack the tables of the indices 1, 2 ...; each is symmetric about symbol 0."""
        parts = [np.concatenate([[0], np.cumsum(table, dtype=np.int64)]) for table in tables]
        begins = np.cumsum([0, 0, *(part.size for part in parts[:-1])])
        slots = np.arange(1 << GUESS_BITS) * (TOTAL >> GUESS_BITS)
        guesses = [np.searchsorted(part, slots, side="right") - 1 for part in parts]
        limits = [0, *(table.size // 2 for table in tables)]
        packed = np.stack([np.zeros_like(slots), *guesses]).astype(np.uint16)
        return cls(np.array(limits, np.int64), begins.astype(np.int64), np.concatenate(parts), packed)
