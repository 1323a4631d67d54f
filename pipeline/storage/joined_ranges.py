"""Neighbouring ranges of an object as one request: a request takes as long as megabytes do."""

from collections.abc import Sequence
from dataclasses import dataclass

GAP = 64 << 10
"""Bytes between two ranges that are read along with them."""
MOST = 16 << 20
"""Bytes of one request at most, unless a single range is longer."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Blocks to read, and where each range lies in them.

    Attributes:
        blocks: first byte and number of bytes of each, in rising order.
        places: of each range its block, its first byte in that, and its number of bytes.
    """

    blocks: list[tuple[int, int]]
    places: list[tuple[int, int, int]]

    def parts(self, blocks: Sequence[bytes]) -> list[bytes]:
        """The bytes of each range, given those of each block; shorter where the object ends."""
        return [blocks[block][start : start + count] if count else b"" for block, start, count in self.places]


def joined(ranges: Sequence[tuple[int, int]], gap: int = GAP, most: int = MOST) -> Joined:
    """Join ranges that lie close to each other.

    Args:
        ranges: first byte and number of bytes of each, in any order; they may overlap.
        gap: bytes between two ranges that are read along.
        most: bytes of a block at most, unless a range is longer.
    """
    blocks: list[tuple[int, int]] = []
    places = [(0, 0, 0)] * len(ranges)
    for number in sorted(range(len(ranges)), key=lambda number: ranges[number]):
        start, count = ranges[number]
        if not count:
            continue
        first, length = blocks[-1] if blocks else (0, -1)
        whole = max(first + length, start + count) - first
        if length >= 0 and start <= first + length + gap and (whole <= most or whole == length):
            blocks[-1] = first, whole
        else:
            blocks.append((start, count))
        places[number] = len(blocks) - 1, start - blocks[-1][0], count
    return Joined(blocks, places)
