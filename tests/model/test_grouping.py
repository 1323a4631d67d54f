"""The order in which symbols are coded."""

import numpy as np
import pytest

from model import grouping
from model.grouping import strips
from model.passes import PASSES, pass_map


@pytest.mark.parametrize("strip", [1, 300, 1 << 18])
def test_strips_group_a_pass_by_index_in_scan_order(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "STRIP", strip)
    for shape in ((1, 1, 16), (7, 5, 10), (8, 4, 6), (2, 9, 4)):
        indices = np.random.default_rng(0).integers(0, 64, shape).astype(np.uint8)
        passes = pass_map(*shape).reshape(-1)
        for number in range(PASSES):
            parts = list(strips(indices, number))
            for index in range(64):
                found = np.concatenate([part.places[part.group(index)] + part.begin for part in parts])
                wanted = np.flatnonzero((passes == number) & (indices.reshape(-1) == index))
                assert np.array_equal(found, wanted)
