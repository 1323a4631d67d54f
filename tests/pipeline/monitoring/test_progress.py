"""The progress display: its line, the estimate of the time left, and where it is shown."""

import io
import re

import pytest

from pipeline.monitoring.encode_counter import EncodeCounts
from pipeline.monitoring.progress import Progress

SHARD = {"objects": 100, "bytes_in": 50_000_000, "bytes_out": 5_000_000, "pixels": 200_000_000, "rejected": 1}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_line_shows_objects_speed_bytes_ratio_rejections_and_time_left() -> None:
    clock = Clock()
    progress = Progress(400, 200_000_000, stream=io.StringIO(), clock=clock)
    clock.now = 100.0
    progress.advance(**SHARD)
    assert progress.line() == "100/400 objects, 2.0 MP/s, 50.0 MB -> 5.0 MB (10.0x), 1 rejected"
    clock.now = 150.0
    progress.advance(**SHARD)
    assert progress.line() == "200/400 objects, 2.7 MP/s, 100.0 MB -> 10.0 MB (10.0x), 2 rejected, 1 min 40 s left"


def test_the_time_left_is_shown_only_when_enough_has_come_to_tell_and_does_not_count_the_start() -> None:
    clock = Clock()
    progress = Progress(100_000, 100_000_000_000, stream=io.StringIO(), clock=clock)
    clock.now = 60.0  # workers started, the first small image came
    progress.advance(objects=1, bytes_in=10_000)
    clock.now = 64.0
    progress.advance(objects=1, bytes_in=5_000_000_000)
    assert "left" not in progress.line()
    clock.now = 70.0
    assert "3 min 10 s left" in progress.line()


def test_encoders_that_are_ahead_of_their_shards_move_the_count_but_not_beyond_the_plan() -> None:
    clock = Clock()
    progress = Progress(400, 200_000_000, stream=io.StringIO(), clock=clock)
    progress.encoded(EncodeCounts(1, 1, 1))
    clock.now = 100.0
    progress.encoded(EncodeCounts(200, 100_000_000, 400_000_000))
    assert progress.line() == "200/400 objects, 4.0 MP/s, 1 min 40 s left"
    progress.advance(**SHARD)
    assert progress.line().startswith("200/400 objects, 4.0 MP/s, 50.0 MB -> 5.0 MB")
    progress.encoded(EncodeCounts(500, 300_000_000, 500_000_000))
    assert progress.line().startswith("400/400 objects")


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress(1000, 200_000_000, stream=stream, clock=clock) as progress:
        for second in (3, 6, 11, 12, 15):
            clock.now = second
            progress.advance(**SHARD)
    lines = stream.getvalue().splitlines()
    assert [line.split(" ")[0] for line in lines] == ["300/1,000", "500/1,000"]


def test_a_job_that_compresses_nothing_shows_no_ratio() -> None:
    clock = Clock()
    progress = Progress(400, 200_000_000, stream=io.StringIO(), clock=clock)
    clock.now = 100.0
    progress.advance(objects=100, bytes_in=50_000_000, pixels=200_000_000)
    assert progress.line() == "100/400 objects, 2.0 MP/s"


def test_quiet_shows_nothing_anywhere() -> None:
    for stream in (io.StringIO(), Terminal()):
        with Progress(400, 1, quiet=True, stream=stream) as progress:
            progress.advance(**SHARD)
        assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar_whose_percentage_is_that_of_the_count_beside_it() -> None:
    stream = Terminal()
    with Progress(400, 100_000_000, stream=stream) as progress:
        progress.advance(**SHARD)  # half of the bytes, a quarter of the objects
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "100/400 objects" in plain
    assert "25%" in plain and "50%" not in plain


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_bar_fits_the_terminal_and_keeps_count_and_time_left(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    clock, stream = Clock(), Terminal()
    with Progress(40_000, 200_000_000_000, stream=stream, clock=clock) as progress:
        for second in (100.0, 5000.0):
            clock.now = second
            progress.advance(objects=9_999, bytes_in=50_000_000_000, bytes_out=5_000_000_000, pixels=10**9, rejected=12)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).replace("\r", "\n").splitlines()
    last = [line.rstrip() for line in lines if "19,998/40,000 objects" in line][-1]
    assert len(last) <= columns and last.endswith("2 h 43 min left")
    assert ("100.0 GB -> 10.0 GB (10.0x)" in last) == (columns == 200)
    assert ("10.0x" in last) == (columns > 60)
