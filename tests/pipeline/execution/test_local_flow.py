"""Work in this process: in order, a bounded number of inputs ahead, and ended by an error."""

import threading
import time
from collections.abc import Iterator

import pyarrow as pa
import pytest

from pipeline.execution import local_flow
from pipeline.execution.local_flow import in_order, run
from pipeline.execution.packing import unpack
from pipeline.execution.shard_work import ShardWork, item_rows


def test_results_keep_the_order_of_the_inputs() -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(in_order(range(50), work, 3)) == [number * number for number in range(50)]


def test_inputs_are_taken_a_few_ahead_and_no_further() -> None:
    taken: list[int] = []

    def inputs() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = in_order(inputs(), lambda number: number, 2)
    assert next(results) == 0 and len(taken) == 5
    results.close()
    assert len(taken) == 5


def test_an_error_ends_the_work_and_what_has_begun_is_waited_for() -> None:
    done: list[int] = []

    def work(number: int) -> int:
        if number == 1:
            raise ValueError("no luck")
        time.sleep(0.05)
        done.append(number)
        return number

    before = set(threading.enumerate())  # as a set: a thread that an earlier test has left may end at any time
    with pytest.raises(ValueError, match="no luck"):
        list(in_order(range(100), work, 2))
    assert not set(threading.enumerate()) - before and len(done) < 8


class _Doubler:
    """Doubles items; counts its instances."""

    made = 0

    def __init__(self, factor: int, threads: int) -> None:
        assert threads == 1
        type(self).made += 1
        self._factor = factor

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        for cell in table["item"]:
            yield item_rows(self._factor * unpack(cell))


def test_shards_are_read_processed_and_finished() -> None:
    def read(table: pa.Table) -> Iterator[pa.Table]:
        (shard,) = table["shard"].to_pylist()
        yield item_rows(*(f"{shard}{i}" for i in range(20)))

    def finish(table: pa.Table) -> pa.Table:
        return item_rows(*(unpack(cell) + "!" for cell in table["item"]))

    found = list(run(["a", "b"], ShardWork(read, _Doubler, (2,), finish, 40, 0.0)))
    assert found == [2 * f"{shard}{i}" + "!" for shard in "ab" for i in range(20)]
    assert 1 <= _Doubler.made <= threading.active_count() + 64
    assert list(run([], ShardWork(read, _Doubler, (2,), None, 0, 0.0))) == []


class _Counter:
    """The number of items of each call, as one item."""

    def __init__(self, threads: int) -> None:
        pass

    def __call__(self, table: pa.Table) -> pa.Table:
        return item_rows(table.num_rows)


@pytest.mark.parametrize(("rows", "calls"), [(1, [1]), (10, [2] * 5), (100, [8] * 12 + [4])])
def test_few_items_are_spread_over_the_threads(rows: int, calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_flow, "cores", lambda: 2)
    work = ShardWork(lambda _: item_rows(*range(rows)), _Counter, (), None, rows, 0.0)
    assert list(run(["a"], work)) == calls
