"""Compiled kernels of the entropy coder: asymmetric numeral systems (ANS, Duda 2009) in interleaved lanes.

A lane is one ANS state of 64 bits. Symbol n of a part of the stream belongs to lane `n mod lanes`;
all lanes take their words from one list, in the order of the symbols (Giesen, "Interleaved entropy
coders", 2014). Neighbouring symbols then do not wait for each other: a processor overlaps them,
SIMD or a GPU decodes as many at once as there are lanes. `docs/format.md` defines the stream.

Arrays are contiguous. Tables are concatenated (`model.bitstream.packed_tables`).
"""

import numpy as np

from model.core.jit import Array, compiled

LOWEST = 1 << 32
"""Smallest state between two symbols, and the state of every lane at the end."""
Order = tuple[Array, int]
"""Which channels of an array `[h, w, C]` a part of the stream codes, and in which order.

`starts [2, 2, k]` are the first channels at even and odd rows and columns; from each on, every
`stride`-th channel is coded.
"""


@compiled
def count(indices: Array, symbols: Array, order: Order, limits: Array, found: Array) -> None:
    """Count the symbols that a part codes, and those that its tables do not hold.

    Args:
        indices: table of each symbol, `[h, w, C]`; 0: not coded.
        symbols: `[h, w, C]`.
        order: of the part.
        limits: largest absolute value of a symbol of each table.
        found: the output, int64 `[2]`.
    """
    starts, stride = order
    coded = 0
    beyond = 0
    for r in range(indices.shape[0]):
        for c in range(indices.shape[1]):
            for base in range(0, indices.shape[2], stride):
                for k in range(starts.shape[2]):
                    channel = base + starts[r & 1, c & 1, k]
                    if channel < indices.shape[2]:
                        table = indices[r, c, channel]
                        coded += table > 0
                        beyond += abs(np.int64(symbols[r, c, channel])) > limits[table]
    found[0] = coded
    found[1] = beyond


@compiled
def encode(
    indices: Array,
    symbols: Array,
    order: Order,
    coded: int,
    limits: Array,
    begins: Array,
    sums: Array,
    states: Array,
    words: Array,
    used: Array,
) -> None:
    """Encode a part of the stream, last symbol first; parts, too, are encoded last to first.

    Args:
        indices: table of each symbol, `[h, w, C]`; 0: not coded.
        symbols: `[h, w, C]`; those beyond their table's limit are coded as the limit.
        order: of the part.
        coded: number of symbols that the part codes.
        limits: largest absolute value of a symbol of each table.
        begins: where each table begins in `sums`.
        sums: cumulative counts of all tables, int64.
        states: of the lanes, uint64, changed in place.
        words: the output, uint32, in the reverse of the order in which they are read.
        used: number of words so far, int64 `[1]`, changed in place.
    """
    starts, stride = order
    height, width, channels = indices.shape
    mask = states.size - 1
    n = coded
    at = used[0]
    top = (channels - 1) // stride * stride
    for r in range(height - 1, -1, -1):
        for c in range(width - 1, -1, -1):
            for base in range(top, -1, -stride):
                for k in range(starts.shape[2] - 1, -1, -1):
                    channel = base + starts[r & 1, c & 1, k]
                    if channel >= channels:
                        continue
                    table = np.int64(indices[r, c, channel])
                    if table == 0:
                        continue
                    n -= 1
                    limit = limits[table]
                    symbol = min(max(np.int64(symbols[r, c, channel]), -limit), limit)
                    place = begins[table] + symbol + limit
                    low = np.uint64(sums[place])
                    frequency = np.uint64(sums[place + 1]) - low
                    state = states[n & mask]
                    if state >= frequency << np.uint64(40):
                        words[at] = np.uint32(state & np.uint64(0xFFFFFFFF))
                        at += 1
                        state >>= np.uint64(32)
                    whole = state // frequency
                    states[n & mask] = (whole << np.uint64(24)) + (state - whole * frequency) + low
    used[0] = at


@compiled
def decode(
    indices: Array,
    order: Order,
    limits: Array,
    begins: Array,
    sums: Array,
    guesses: Array,
    states: Array,
    words: Array,
    used: Array,
    symbols: Array,
) -> None:
    """Decode a part of the stream.

    Args:
        indices: table of each symbol, `[h, w, C]`; 0: not coded.
        order: of the part.
        limits: largest absolute value of a symbol of each table.
        begins: where each table begins in `sums`.
        sums: cumulative counts of all tables, int64.
        guesses: for each table and each value of the slot's 8 upper bits, the first symbol that may
            be there, uint16 `[tables, 256]`.
        states: of the lanes, uint64, changed in place.
        words: uint32, in the order in which they are read.
        used: number of words that are read, and of symbols that are decoded, int64 `[2]`, changed
            in place. Beyond the last word zeros are read: the caller compares the number with that
            of the words.
        symbols: the output, `[h, w, C]`; others than those of the part are not written.
    """
    starts, stride = order
    height, width, channels = indices.shape
    mask = states.size - 1
    n = 0
    at = used[0]
    for r in range(height):
        for c in range(width):
            for base in range(0, channels, stride):
                for k in range(starts.shape[2]):
                    channel = base + starts[r & 1, c & 1, k]
                    if channel >= channels:
                        continue
                    table = np.int64(indices[r, c, channel])
                    if table == 0:
                        continue
                    state = states[n & mask]
                    slot = np.int64(state & np.uint64(0xFFFFFF))
                    place = begins[table] + np.int64(guesses[table, slot >> 16])
                    while sums[place + 1] <= slot:
                        place += 1
                    low = sums[place]
                    state = (state >> np.uint64(24)) * np.uint64(sums[place + 1] - low) + np.uint64(slot - low)
                    if state < np.uint64(4294967296):
                        word = np.uint64(words[at]) if at < words.size else np.uint64(0)
                        state = state << np.uint64(32) | word
                        at += 1
                    states[n & mask] = state
                    symbols[r, c, channel] = place - begins[table] - limits[table]
                    n += 1
    used[0] = at
    used[1] += n
