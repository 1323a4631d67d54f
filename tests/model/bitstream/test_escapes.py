"""Lists of escapes are lossless, and damaged lists are rejected."""

import tracemalloc
import zlib

import numpy as np
import pytest

from model.bitstream import escapes
from model.core.errors import DamagedPayload


def random_list(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    size = int(rng.integers(1, 1 << int(rng.integers(1, 26))))
    count = int(rng.integers(1, min(size, 300) + 1))
    positions = np.unique(rng.integers(0, size, count))
    largest = min(escapes.MAX_SYMBOL, 1 << int(rng.integers(1, 31)))
    return positions, rng.integers(-largest, largest + 1, positions.size).astype(np.int32), size


def test_any_list_of_escapes_comes_back() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        positions, values, size = random_list(rng)
        read_positions, read_values = escapes.read(escapes.write(positions, values, size), size)
        assert np.array_equal(read_positions, positions)
        assert np.array_equal(read_values, values)


def test_extreme_values_and_positions_come_back() -> None:
    size = 1 << 34
    positions = np.array([0, 1, 127, 128, size - 1])
    values = np.array([escapes.MAX_SYMBOL, -escapes.MAX_SYMBOL, -1, 1, 0], np.int32)
    read = escapes.read(escapes.write(positions, values, size), size)
    assert np.array_equal(read[0], positions)
    assert np.array_equal(read[1], values)


def test_no_escapes_take_no_bytes() -> None:
    empty = np.empty(0, np.int64), np.empty(0, np.int32)
    assert escapes.write(*empty, 100) == b""
    assert escapes.read(b"", 100)[0].size == 0


def test_repetitive_lists_are_packed() -> None:
    positions = np.arange(0, 40_000, 4)
    assert len(escapes.write(positions, np.full(positions.size, 9, np.int32), 40_000)) < 200


def test_a_position_beyond_the_image_is_refused() -> None:
    data = escapes.write(np.array([3, 50]), np.array([1, 1], np.int32), 51)
    assert escapes.read(data, 51)[0].tolist() == [3, 50]
    with pytest.raises(DamagedPayload):
        escapes.read(data, 50)


def test_changed_bytes_are_refused_or_still_give_positions_inside_the_image() -> None:
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(2000):
        positions, values, size = random_list(rng)
        data = bytearray(escapes.write(positions, values, size))
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        cut = bytes(data[: int(rng.integers(1, len(data) + 1))])
        try:
            found, numbers = escapes.read(cut, size)
        except DamagedPayload:
            refused += 1
            continue
        assert found.size == numbers.size
        assert found.size == 0 or (found[0] >= 0 and found[-1] < size and (np.diff(found) > 0).all())
    assert 0 < refused < 2000


def test_a_list_longer_than_the_image_is_refused_before_it_is_unpacked() -> None:
    data = b"\0" + b"\x01\x02" * 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(DamagedPayload):
            escapes.read(data, 100)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000  # a copy of the bytes, no more
    finally:
        tracemalloc.stop()


def test_numbers_not_in_shortest_form_and_extra_bytes_are_refused() -> None:
    assert escapes.read(b"\0\x01\x02", 9)[0].tolist() == [1]
    with pytest.raises(DamagedPayload):
        escapes.read(b"\0\x81\x00\x02", 9)
    packed = zlib.compress(b"\x01\x02" * 8)
    assert escapes.read(b"\1" + packed, 9)[0].size == 8
    for data in (packed[:-1], packed + b"\0"):
        with pytest.raises(DamagedPayload):
            escapes.read(b"\1" + data, 9)
