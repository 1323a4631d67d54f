"""The metrics of a running encode, exported to Prometheus by Ray.

`deploy/grafana/maepress.json` is their dashboard.

    tasks and actors    timed_stage    time per stage, and numbers of pieces begun and finished
    the driver          RunMetrics     objects, bytes, rejections, commits

Ray exports each with its own prefix and labels (node, worker, job):
`ray_maepress_objects_total{outcome="latent"}`. Metrics are for observation only: the last seconds
of a killed process may never be scraped. Exact results are in the archive and in the run's summary
(`pipeline.runs.record`).

There are no gauges, as Ray drops a gauge that is not set again every few seconds. The length of a
queue is the difference of two counters: pieces that one stage has finished and the next has not
begun, shards written and not committed.
"""

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.archive.receipt import Receipt, Rejection, general

LATENCY_BUCKETS = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0]
"""Upper bounds in seconds: a piece of thumbnails takes milliseconds, a gigapixel scan minutes."""
MAX_REASONS = 50
"""Number of reasons for rejections that get a time series of their own, per driver."""


@functools.cache
def _metrics() -> dict[str, Any]:
    """Made once per process, when first used: a process that reports nothing registers none."""
    from ray.util.metrics import Counter, Histogram

    counters = {
        "planned_objects": ("objects that the driver has planned to compress", ()),
        "objects": ("objects that became rows, by the kind of payload: latent, jxl, original", ("outcome",)),
        "source_bytes": ("bytes of the sources of these objects", ()),
        "payload_bytes": ("bytes of their payloads", ()),
        "pixels": ("their width times height", ()),
        "rejected": ("objects rejected, by stage and reason (numbers left out)", ("stage", "reason")),
        "retired": ("rows that left because their source is gone", ()),
        "written_shards": ("shards that are written", ()),
        "committed_shards": ("shards that are committed; a killed driver loses the difference to the written ones", ()),
        "commits": ("commits to the images table", ()),
        "begun": ("pieces that a stage has begun", ("stage",)),
    }
    made: dict[str, Any] = {
        name: Counter(f"maepress_{name}", description=text, tag_keys=tags) for name, (text, tags) in counters.items()
    }
    made["stage_seconds"] = Histogram(
        "maepress_stage_seconds",
        description="duration of a stage for one piece in seconds",
        boundaries=LATENCY_BUCKETS,
        tag_keys=("stage",),
    )
    made["commit_seconds"] = Histogram(
        "maepress_commit_seconds", description="duration of a commit in seconds", boundaries=LATENCY_BUCKETS
    )
    return made


@contextmanager
def timed_stage(name: str) -> Iterator[None]:
    """Count and time a stage's work on one piece (for "write" one unit).

    Works as a `with` block and as a decorator.

    Args:
        name: load, analyse, compress or write.
    """
    metrics = _metrics()
    metrics["begun"].inc(1, {"stage": name})
    started = time.perf_counter()
    yield
    metrics["stage_seconds"].observe(time.perf_counter() - started, {"stage": name})


class RunMetrics:
    """The metrics that the driver of a run reports."""

    def __init__(self) -> None:
        self._metrics = _metrics()
        self._reasons: set[str] = set()

    def planned(self, objects: int) -> None:
        """Count the objects to compress."""
        self._count("planned_objects", objects, {})

    def written(self, receipt: Receipt) -> None:
        """Count a unit whose shard is written."""
        kept = {"jxl": receipt.transcoded, "pixels": receipt.kept_pixels}
        coded = {"latent": receipt.latents, "standard": receipt.standard} | kept
        outcomes = coded | {"original": receipt.rows - sum(coded.values())}
        for outcome, count in outcomes.items():
            self._count("objects", count, {"outcome": outcome})
        for name in ("source_bytes", "payload_bytes", "pixels", "retired"):
            self._count(name, getattr(receipt, name), {})
        for rejection in receipt.rejections:
            self._count("rejected", 1, {"stage": rejection.stage, "reason": self._reason(rejection)})
        self._count("written_shards", 1, {})

    def committed(self, shards: int, seconds: float) -> None:
        """Count a commit and its number of shards."""
        self._count("commits", 1, {})
        self._metrics["commit_seconds"].observe(seconds)
        self._count("committed_shards", shards, {})

    def _count(self, name: str, value: int, tags: dict[str, str]) -> None:
        if value:  # Ray rejects an increment of 0
            self._metrics[name].inc(value, tags)

    def _reason(self, rejection: Rejection) -> str:
        """The reason without its numbers, or "other" beyond MAX_REASONS, to limit the time series."""
        reason = general(rejection.reason)
        if reason not in self._reasons and len(self._reasons) == MAX_REASONS:
            return "other"
        self._reasons.add(reason)
        return reason
