"""Byte counts and durations as text."""

import pytest

from pipeline.monitoring.formatting import duration, size

BYTES = [
    (999, "999 B"),
    (999.6, "1.0 kB"),
    (1500, "1.5 kB"),
    (999_960, "1.0 MB"),
    (999_940, "999.9 kB"),
    (2e15, "2000.0 TB"),
]


@pytest.mark.parametrize(("count", "text"), BYTES)
def test_bytes_are_shown_with_a_unit(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (3600 * 30 + 61, "30 h 1 min")])
def test_durations_are_shown_in_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text
