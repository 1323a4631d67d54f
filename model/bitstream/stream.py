"""The stream of a payload: z and the symbols of the three passes, in interleaved lanes. No torch.

    u8 log2(lanes) | states of the lanes, u64 each | words, u32 each, in the order in which they are read

The parts are z, then the first, second and third pass; symbols of a part are in scan order. So a
reader that needs z or the first pass alone reads the beginning. `docs/format.md` defines it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.bitstream import lanes
from model.bitstream.coding_passes import GROUPS, PASSES, pass_map
from model.bitstream.packed_tables import PackedTables
from model.core.errors import DamagedPayload

Numbers = NDArray[np.int16] | NDArray[np.int32]
"""Symbols: int16, or int32 where int16 is too small."""
MOST_LANES = 32
SYMBOLS_PER_LANE = 1 << 15
"""A stream has twice as many lanes only if it codes twice as many symbols: a lane costs about 6 bytes."""


def lanes_for(coded: int) -> int:
    """Number of lanes of a stream that codes `coded` symbols: a power of two, 1..32."""
    return 1 << min(max(coded // SYMBOLS_PER_LANE, 1).bit_length() - 1, MOST_LANES.bit_length() - 1)


def _starts(number: int) -> NDArray[np.int64]:
    corner = pass_map(2, 2, GROUPS)
    return np.array([[np.flatnonzero(corner[r, c] == number) for c in range(2)] for r in range(2)])


PASS_ORDERS: list[lanes.Order] = [(_starts(number), GROUPS) for number in range(PASSES)]
"""Order of the symbols of each pass in an array `[h, w, M]`."""
WHOLE: lanes.Order = (np.zeros((2, 2, 1), np.int64), 1)
"""Order of an array in which everything is coded."""


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """A part of the stream.

    Attributes:
        symbols: integers `[h, w, C]`.
        indices: table of each, `[h, w, C]`; 0: not coded.
        order: which of them are coded, and in which order.
        tables: of the part.
    """

    symbols: NDArray[np.int8] | Numbers
    indices: NDArray[np.uint8] | NDArray[np.uint16]
    order: lanes.Order
    tables: PackedTables


def write(parts: list[Part], count: int | None = None) -> tuple[bytes, int]:
    """Encode the parts.

    Args:
        parts: z and the passes.
        count: number of lanes, a power of two, for experiments; None: the only one that is valid.

    Returns:
        the stream, and the number of symbols that their tables do not hold; their limits are coded
        in their places (`model.bitstream.escapes`).
    """
    found = np.zeros((len(parts), 2), np.int64)
    for part, numbers in zip(parts, found, strict=True):
        lanes.count(part.indices, part.symbols, part.order, part.tables.limits, numbers)
    coded, beyond = found.sum(0).tolist()
    states = np.full(count or lanes_for(coded), lanes.LOWEST, np.uint64)
    words, used = np.empty(coded, np.uint32), np.zeros(1, np.int64)
    for part, (mine, _) in zip(reversed(parts), reversed(found.tolist()), strict=True):
        t = part.tables
        lanes.encode(part.indices, part.symbols, part.order, mine, t.limits, t.begins, t.sums, states, words, used)
    head = bytes([states.size.bit_length() - 1])
    return head + states.astype("<u8").tobytes() + words[: used[0]][::-1].astype("<u4").tobytes(), beyond


class StreamReader:
    """Decodes the parts of a stream, one after the other."""

    def __init__(self, data: bytes) -> None:
        """Read the states of the lanes.

        Raises:
            DamagedPayload: when the bytes cannot be a stream.
        """
        count = 1 << data[0] if data and data[0] < MOST_LANES.bit_length() else 0
        body = len(data) - 1 - 8 * count
        if not count or body < 0 or body % 4:
            raise DamagedPayload("the payload's stream is damaged")
        self._states = np.frombuffer(data, "<u8", count, 1).astype(np.uint64)
        self._words = np.frombuffer(data, "<u4", body // 4, 1 + 8 * count).astype(np.uint32)
        self._used = np.zeros(2, np.int64)
        if (self._states < lanes.LOWEST).any():
            raise DamagedPayload("the payload's stream is damaged")

    def read(
        self,
        indices: NDArray[np.uint8] | NDArray[np.uint16],
        order: lanes.Order,
        tables: PackedTables,
        symbols: NDArray[np.int8] | Numbers,
    ) -> None:
        """Decode the next part.

        Args:
            indices: table of each symbol, `[h, w, C]`, contiguous; 0: not coded.
            order: which of them are coded, and in which order.
            tables: of the part.
            symbols: the output, of the same shape, contiguous, of a dtype that holds the tables'
                range; what the part does not code is not written.

        Raises:
            DamagedPayload: when the stream is too short.
        """
        t = tables
        lanes.decode(
            indices, order, t.limits, t.begins, t.sums, t.guesses, self._states, self._words, self._used, symbols
        )
        if self._used[0] > self._words.size:
            raise DamagedPayload("the payload's stream does not end where it should")

    def expect_end(self) -> None:
        """Check that the stream ends after the parts that were read.

        Raises:
            DamagedPayload: when it does not, or has another number of lanes than its symbols want.
        """
        words, coded = self._used.tolist()
        ended = words == self._words.size and bool((self._states == lanes.LOWEST).all())
        if not ended or self._states.size != lanes_for(coded):
            raise DamagedPayload("the payload's stream does not end where it should")
