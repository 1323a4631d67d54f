"""Names of runs."""

import time

from pipeline.runs.name import new_run, started_at


def test_names_sort_by_time_within_one_second() -> None:
    names = []
    for _ in range(40):
        names.append(new_run())
        time.sleep(0.002)  # more than the name's millisecond
    assert sorted(names) == names


def test_a_name_tells_when_its_run_started() -> None:
    before = time.time()
    started = started_at(new_run())
    assert started is not None and before - 1 <= started <= time.time()
    assert started_at("20260105T020000-123-5ac0ffee") == 1767578400
    assert started_at("by hand") is None
