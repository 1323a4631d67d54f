"""Symbols are coded by scale index, then in scan order."""

import numpy as np
import pytest

from model.bitstream import symbol_order
from model.bitstream.coding_passes import PASSES, pass_map
from model.bitstream.symbol_order import strips


@pytest.mark.parametrize("strip", [1, 300, 1 << 18])
def test_strips_group_a_pass_by_index_in_scan_order(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbol_order, "STRIP", strip)
    for shape in ((1, 1, 16), (7, 5, 10), (8, 4, 6), (2, 9, 4)):
        indices = np.random.default_rng(0).integers(0, 64, shape).astype(np.uint8)
        passes = pass_map(*shape).reshape(-1)
        for number in range(PASSES):
            parts = list(strips(indices, number))
            for index in range(64):
                found = np.concatenate([part.positions[part.group(index)] + part.begin for part in parts])
                wanted = np.flatnonzero((passes == number) & (indices.reshape(-1) == index))
                assert np.array_equal(found, wanted)
