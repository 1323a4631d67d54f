"""Sharding: parts are disjoint, equal and cover everything, however many there are."""

from itertools import pairwise

import numpy as np
import pytest

from pipeline.dataset.row_groups import RowGroup
from pipeline.dataset.sharding import ShuffledRows, bounds, rows_between, shuffled_groups

GROUPS = [RowGroup(f"shard {s}", g, rows) for s in range(4) for g, rows in enumerate((5, 1, 9, 3)[: s + 1])]
ROWS = sum(group.rows for group in GROUPS)


@pytest.mark.parametrize("parts", [1, 2, 3, 17, ROWS, 2 * ROWS])
def test_parts_are_disjoint_equal_and_cover_everything(parts: int) -> None:
    parts_of_all = [rows_between(GROUPS, *bounds(ROWS, part, parts)) for part in range(parts)]
    rows = [(span.group, row) for spans in parts_of_all for span in spans for row in range(span.start, span.stop)]
    assert rows == [(group, row) for group in GROUPS for row in range(group.rows)]
    lengths = [sum(span.stop - span.start for span in spans) for spans in parts_of_all]
    assert max(lengths) - min(lengths) <= 1


def test_shards_stay_together_when_they_are_shuffled() -> None:
    shuffled = shuffled_groups(GROUPS, np.random.default_rng(0))
    assert sorted(shuffled, key=GROUPS.index) == GROUPS != shuffled
    changes = sum(a.shard != b.shard for a, b in pairwise(shuffled))
    assert changes == 3


def test_a_buffer_holds_no_more_than_it_may_and_gives_every_row_once() -> None:
    held = most = 0

    def source():  # type: ignore[no-untyped-def]
        nonlocal held, most
        for number in range(200):
            held += 100
            most = max(most, held)
            yield {"number": number, "payload_bytes": 100}

    drawn = []
    for row in ShuffledRows(source(), np.random.default_rng(0), 1000):
        held -= 100
        drawn.append(row["number"])
    assert sorted(drawn) == list(range(200)) != drawn
    assert most <= 1200
    away = np.abs(np.array(drawn) - np.arange(200))
    assert 3 < away.mean() < 30


def test_a_row_larger_than_the_buffer_passes() -> None:
    rows = [{"number": number, "payload_bytes": 50} for number in range(3)]
    assert sorted(row["number"] for row in ShuffledRows(rows, np.random.default_rng(0), 1)) == [0, 1, 2]
