"""What a person sees while a job runs, on standard error.

A bar on a terminal, a line now and then in a log, nothing when quiet.

    with Progress(total_objects, total_bytes) as progress:
        progress.add(receipt)

Objects, speed and the time left follow the encoders; bytes out and the ratio are of units whose shard is written.
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

from pipeline.archive.shards import Receipt
from pipeline.monitoring.encode_counter import Counts
from pipeline.monitoring.formatting import duration, size

LINE_SECONDS = 10.0
SURE_SECONDS, SURE_SHARE = 5.0, 0.01
"""Seconds of work and share of the bytes after which the time left is told."""


class Progress:
    """Counts receipts against a plan's totals."""

    def __init__(
        self,
        objects: int,
        source_bytes: int,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the totals.

        Args:
            objects: to press, from the plan.
            source_bytes: of these.
            quiet: show nothing.
            stream: where to; standard error when None.
            clock: seconds that only go forward.
        """
        self.objects = self.rejected = self.source_bytes = self.payload_bytes = self.pixels = 0
        self._ahead = Counts()
        self._first: tuple[float, int] | None = None  # seconds and bytes when work first arrived
        self._objects, self._total_bytes = objects, source_bytes
        self._clock, self._started = clock, clock()
        self._said = self._last = self._started  # when a line was printed, when a receipt came
        self._stream = stream or sys.stderr
        self._bar: Bar | None = None
        self._quiet = quiet
        if not quiet and self._stream.isatty():
            self._bar = Bar(
                TextColumn("{task.percentage:>3.0f}%", table_column=Column(min_width=4, no_wrap=True)),
                BarColumn(bar_width=12),
                TextColumn("{task.description}"),
                console=Console(file=self._stream),
                transient=True,
            )
            self._task = self._bar.add_task(self.line(), total=max(1, source_bytes))

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif not self._quiet and self._said != self._last:
            self._print()

    def add(self, receipt: Receipt) -> None:
        """Count one unit, whose shard is written."""
        self.rejected += len(receipt.rejections)
        self.objects += receipt.rows + len(receipt.rejections)
        self.source_bytes += receipt.source_bytes
        self.payload_bytes += receipt.payload_bytes
        self.pixels += receipt.pixels
        self._show()

    def encoded(self, counts: Counts) -> None:
        """Take note of how far the encoders are, beyond finished units. May be called from another thread."""
        self._ahead = counts
        self._show()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self._clock() - self._started

    def line(self) -> str:
        """The state in one line: objects, speed, bytes in and out, ratio, rejections, time left."""
        objects, source_bytes, pixels = self._reached()
        parts = [f"{objects:,}/{self._objects:,} objects"]
        if self.seconds > 0 and pixels:
            parts.append(f"{pixels / 1e6 / self.seconds:.1f} MP/s")
        if self.payload_bytes:
            ratio = self.source_bytes / self.payload_bytes
            parts.append(f"{size(self.source_bytes)} -> {size(self.payload_bytes)} ({ratio:.1f}x)")
        if self.rejected:
            parts.append(f"{self.rejected:,} rejected")
        if objects < self._objects and (left := self._seconds_left(source_bytes)) is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)

    def _seconds_left(self, source_bytes: int) -> float | None:
        """At the speed since work first arrived; None as long as too little has to tell.

        What passed before that (starting workers, loading models) is not repeated, and the first to arrive came out of
        a line that was filling up: extrapolated from there, a job of a minute would announce an hour.
        """
        if self._first is None:
            return None
        seconds, done = self.seconds - self._first[0], source_bytes - self._first[1]
        if seconds < SURE_SECONDS or done < SURE_SHARE * self._total_bytes:
            return None
        return seconds * (self._total_bytes - source_bytes) / done

    def _reached(self) -> Counts:
        """The furthest that is known: what encoders said, or what receipts say; never more than the plan has."""
        objects = min(self._objects, max(self.objects, self._ahead.objects))
        source_bytes = min(self._total_bytes, max(self.source_bytes, self._ahead.source_bytes))
        return Counts(objects, source_bytes, max(self.pixels, self._ahead.pixels))

    def _show(self) -> None:
        self._last = self._clock()
        if self._first is None and (arrived := self._reached().source_bytes):
            self._first = (self.seconds, arrived)
        if self._bar:
            self._bar.update(self._task, completed=self._reached().source_bytes, description=self.line())
        elif not self._quiet and self._last - self._said >= LINE_SECONDS:
            self._print()

    def _print(self) -> None:
        self._said = self._last
        print(self.line(), file=self._stream, flush=True)
