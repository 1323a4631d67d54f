"""What a run tells Prometheus while it works, through Ray's metrics; `deploy/grafana/maepress.json` draws it.

    the line's processes   stage                                how long each stage takes, and what waits in between
    the driver             Meter.plan, Meter.add, .committed    objects, bytes, rejections, commits

Ray exports each with its own prefix and labels (node, worker, job): `ray_maepress_objects_total{outcome="latent"}`.
For watching, never for the books: what a process did in its last seconds before it is killed may never be scraped. The
books are the archive and the run's summary (`pipeline.archive.run_record`).

There are no gauges: Ray forgets a gauge that is not set again every few seconds. What waits is the difference of two
counters: pieces that a stage has finished and the next one has not begun, shards written and not committed.
"""

import functools
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.archive.shards import Receipt, Rejection

SECONDS = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0]
"""Upper bounds of the latencies' buckets: a piece of thumbnails takes milliseconds, a gigapixel scan minutes."""
MOST_REASONS = 50
"""Reasons of one driver that get a time series of their own."""


@functools.cache
def _metrics() -> dict[str, Any]:
    """Made once a process, when first needed: a process that reports nothing does not register them."""
    from ray.util.metrics import Counter, Histogram

    counters = {
        "planned_objects": ("objects that the driver has to press", ()),
        "objects": ("objects that became rows, by what the row holds: latent, jxl, original", ("outcome",)),
        "source_bytes": ("bytes of the sources of these objects", ()),
        "payload_bytes": ("bytes that their rows hold", ()),
        "pixels": ("their width times height", ()),
        "rejected": ("objects refused, by stage and reason (numbers left out)", ("stage", "reason")),
        "retired": ("rows that left because their source is gone", ()),
        "written_shards": ("shards that are written", ()),
        "committed_shards": ("shards that are committed; the difference is what a killed driver would cost", ()),
        "commits": ("commits to the images table", ()),
        "begun": ("pieces that a stage has begun to work on", ("stage",)),
    }
    made: dict[str, Any] = {
        name: Counter(f"maepress_{name}", description=text, tag_keys=tags) for name, (text, tags) in counters.items()
    }
    made["stage_seconds"] = Histogram(
        "maepress_stage_seconds",
        description="seconds a stage takes for a piece",
        boundaries=SECONDS,
        tag_keys=("stage",),
    )
    made["commit_seconds"] = Histogram(
        "maepress_commit_seconds", description="seconds a commit takes", boundaries=SECONDS
    )
    return made


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Time a stage's work on a table (one piece; for "write" a unit), as a `with` block or as a function's decorator.

    Args:
        name: load, analyse, press or write.
    """
    metrics = _metrics()
    metrics["begun"].inc(1, {"stage": name})
    started = time.perf_counter()
    yield
    metrics["stage_seconds"].observe(time.perf_counter() - started, {"stage": name})


class Meter:
    """The driver's side of a run."""

    def __init__(self) -> None:
        self._metrics = _metrics()
        self._reasons: set[str] = set()

    def plan(self, objects: int) -> None:
        """Note how many objects there are to press."""
        self._count("planned_objects", objects, {})

    def add(self, receipt: Receipt) -> None:
        """Count a unit whose shard is written."""
        originals = receipt.rows - receipt.latents - receipt.transcoded
        outcomes = {"latent": receipt.latents, "jxl": receipt.transcoded, "original": originals}
        for outcome, count in outcomes.items():
            self._count("objects", count, {"outcome": outcome})
        for name in ("source_bytes", "payload_bytes", "pixels", "retired"):
            self._count(name, getattr(receipt, name), {})
        for rejection in receipt.rejections:
            self._count("rejected", 1, {"stage": rejection.stage, "reason": self._reason(rejection)})
        self._count("written_shards", 1, {})

    def committed(self, shards: int, seconds: float) -> None:
        """Count a commit of so many shards."""
        self._count("commits", 1, {})
        self._metrics["commit_seconds"].observe(seconds)
        self._count("committed_shards", shards, {})

    def _count(self, name: str, value: int, tags: dict[str, str]) -> None:
        if value:  # Ray refuses to add nothing
            self._metrics[name].inc(value, tags)

    def _reason(self, rejection: Rejection) -> str:
        """A reason that many objects share: each different text becomes a time series, and those are not free."""
        reason = re.sub(r"\d+", "N", rejection.reason)[:80]
        if reason not in self._reasons and len(self._reasons) == MOST_REASONS:
            return "other"
        self._reasons.add(reason)
        return reason
