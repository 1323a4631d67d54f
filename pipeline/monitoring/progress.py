"""The progress display of a job, on standard error.

A terminal shows a bar, a log gets a line every ten seconds.

    with Progress(total_objects, total_bytes) as progress:
        progress.advance(objects=12, bytes_in=3_400_000, pixels=9_000_000)

Percentage and bar follow the number of objects that the line shows; the time left follows bytes,
since objects differ in size.

Any job can drive it. An encode reports in two ways: `advance` when a shard is written, and
`encoded` for the images that encoders have finished and no shard holds yet. Number of objects,
speed and time left follow the larger of the two; bytes out and the ratio count written shards only.
"""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column

from pipeline.monitoring.encode_counter import EncodeCounts
from pipeline.monitoring.formatting import duration, size
from pipeline.monitoring.log import line

LINE_SECONDS = 10.0
"""Seconds between two lines in a log."""
ESTIMATE_SECONDS, ESTIMATE_SHARE = 5.0, 0.01
"""Seconds of work and share of the bytes after which the time left is shown."""

_BAR_WIDTH = 12
_BAR_CELLS = len("100%") + _BAR_WIDTH + 3
"""Cells of a terminal's line that percentage and bar take, with the spaces between them."""


class Progress:
    """Shows how much of a known amount of work is done."""

    def __init__(
        self,
        total_objects: int,
        total_bytes: int,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the totals.

        Args:
            total_objects: objects to work on.
            total_bytes: their bytes.
            quiet: show nothing.
            stream: where to write; standard error when None.
            clock: monotonic, in seconds.
        """
        self._objects = self._rejected = self._bytes_in = self._bytes_out = self._pixels = 0
        self._encoded = EncodeCounts()
        self._first: tuple[float, int] | None = None  # seconds and bytes when the first result arrived
        self._total_objects, self._total_bytes = total_objects, total_bytes
        self._clock, self._started = clock, clock()
        self._printed = self._updated = self._started  # times of the last line and of the last result
        self._stream = stream or sys.stderr
        self._bar: Bar | None = None
        self._quiet = quiet
        if not quiet and self._stream.isatty():
            self._bar = Bar(
                TextColumn("{task.percentage:>3.0f}%", table_column=Column(min_width=4, no_wrap=True)),
                BarColumn(bar_width=_BAR_WIDTH),
                TextColumn("{task.description}", markup=False),
                console=Console(file=self._stream),
                transient=True,
            )
            self._task = self._bar.add_task(self._fitting(), total=max(1, total_objects))

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif not self._quiet and self._printed != self._updated:
            self._print()

    def advance(
        self, *, objects: int = 0, bytes_in: int = 0, bytes_out: int = 0, pixels: int = 0, rejected: int = 0
    ) -> None:
        """Add finished work and show it.

        Args:
            objects: objects finished, rejected ones included.
            bytes_in: their bytes, of the kind that `total_bytes` counts.
            bytes_out: bytes made of them; 0 for a job that compresses nothing.
            pixels: their width times height.
            rejected: number of rejected ones.
        """
        self._objects += objects
        self._bytes_in += bytes_in
        self._bytes_out += bytes_out
        self._pixels += pixels
        self._rejected += rejected
        self._show()

    def encoded(self, counts: EncodeCounts) -> None:
        """Set how much the encoders have finished, in shards or not.

        May be called from another thread.
        """
        self._encoded = counts
        self._show()

    def line(self) -> str:
        """The state in one line: objects, speed, bytes in and out, ratio, rejections, time left."""
        return ", ".join(self._parts().values())

    def _fitting(self) -> str:
        """The line, shortened to what fits beside the bar."""
        parts = self._parts()
        room = self._bar.console.width - _BAR_CELLS if self._bar else 0
        if "bytes" in parts and len(", ".join(parts.values())) > room:
            parts["bytes"] = f"{self._bytes_in / self._bytes_out:.1f}x"
        for name in ("speed", "rejected", "bytes"):
            if len(", ".join(parts.values())) > room:
                parts.pop(name, None)
        return ", ".join(parts.values())

    def _parts(self) -> dict[str, str]:
        done = self._done()
        seconds = self._seconds()
        parts = {"objects": f"{done.objects:,}/{self._total_objects:,} objects"}
        if seconds > 0 and done.pixels:
            parts["speed"] = f"{done.pixels / 1e6 / seconds:.1f} MP/s"
        if self._bytes_out:
            ratio = self._bytes_in / self._bytes_out
            parts["bytes"] = f"{size(self._bytes_in)} -> {size(self._bytes_out)} ({ratio:.1f}x)"
        if self._rejected:
            parts["rejected"] = f"{self._rejected:,} rejected"
        if done.objects < self._total_objects and (left := self._seconds_left(done.source_bytes)) is not None:
            parts["left"] = f"{duration(left)} left"
        return parts

    def _seconds(self) -> float:
        return self._clock() - self._started

    def _seconds_left(self, bytes_done: int) -> float | None:
        """The time left at the speed since the first result; None until enough is done for an estimate.

        The time before the first result went into starting workers and loading models, which is not
        repeated, and the first result left a pipeline that was still filling up. With both
        included, a job of a minute would first announce an hour.
        """
        if self._first is None:
            return None
        seconds, done = self._seconds() - self._first[0], bytes_done - self._first[1]
        if seconds < ESTIMATE_SECONDS or done < ESTIMATE_SHARE * self._total_bytes:
            return None
        return seconds * (self._total_bytes - bytes_done) / done

    def _done(self) -> EncodeCounts:
        """The larger of encoded and finished work, and never more than the totals."""
        objects = min(self._total_objects, max(self._objects, self._encoded.objects))
        source_bytes = min(self._total_bytes, max(self._bytes_in, self._encoded.source_bytes))
        return EncodeCounts(objects, source_bytes, max(self._pixels, self._encoded.pixels))

    def _show(self) -> None:
        self._updated = self._clock()
        bytes_done = self._done().source_bytes
        if self._first is None and bytes_done:
            self._first = (self._seconds(), bytes_done)
        if self._bar:
            self._bar.update(self._task, completed=self._done().objects, description=self._fitting())
        elif not self._quiet and self._updated - self._printed >= LINE_SECONDS:
            self._print()

    def _print(self) -> None:
        self._printed = self._updated
        print(line(self.line()), file=self._stream, flush=True)
