"""`/healthz` and `/metrics` of the viewer, in the text format of Prometheus."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Upper bounds in seconds of the histogram."""
PAGES = ("", "view", "image", "original", "rejections", "static", "healthz", "metrics")
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: name, kind ("counter", "gauge" or "histogram"), help, and samples by suffix and labels."""

    name: str
    kind: str
    about: str
    samples: Mapping[str, float]


class Requests:
    """ASGI middleware: counts requests by page and status, and their seconds. Used on the event loop only."""

    def __init__(self, app: ASGIApp, state: "RequestCounts") -> None:
        """Args: state: where the counts are kept."""
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count it when its answer ends."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begun = 500, time.perf_counter()

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            first = scope["path"].split("/")[1] if scope["path"].startswith("/") else "?"
            self._state.add(first or "home" if first in PAGES else "other", status, time.perf_counter() - begun)


class RequestCounts:
    """How many requests were answered, and in what time."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._within: Counter[tuple[str, float]] = Counter()
        self._seconds: Counter[str] = Counter()

    def add(self, page: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests[page, status] += 1
        self._seconds[page] += seconds  # type: ignore[assignment]  # a sum of floats
        for bound in (*BOUNDS, float("inf")):
            self._within[page, bound] += seconds <= bound

    def metrics(self) -> list[Metric]:
        """The metrics of these counts."""
        requests = {f'{{page="{page}",status="{status}"}}': float(n) for (page, status), n in self._requests.items()}
        taken: dict[str, float] = {}
        for (page, bound), n in sorted(self._within.items()):
            le = "+Inf" if bound == float("inf") else f"{bound:g}"
            taken[f'_bucket{{page="{page}",le="{le}"}}'] = float(n)
        for page, seconds in self._seconds.items():
            taken[f'_sum{{page="{page}"}}'] = float(seconds)
            taken[f'_count{{page="{page}"}}'] = float(self._within[page, float("inf")])
        return [
            Metric("maepress_viewer_requests_total", "counter", "requests answered, by page and status", requests),
            Metric("maepress_viewer_request_seconds", "histogram", "seconds until an answer was complete", taken),
        ]


def of_archive(status: Any, changed_seconds: float) -> list[Metric]:
    """The metrics of an archive: its totals and the time of its last commit.

    Args:
        status: an `ArchiveStatus`.
        changed_seconds: time of the current version, in seconds since 1970.
    """
    values = {
        "images": ("rows of the archive", status.rows),
        "source_bytes": ("bytes of their sources", status.source_bytes),
        "shard_bytes": ("bytes of the shards that hold them", status.shard_bytes),
        "rejected": ("objects rejected and not in the archive", status.rejected),
        "damaged": ("problems that the last checks of the shards found", len(status.checked.problems)),
        "changed_timestamp_seconds": ("time of the last commit, in seconds since 1970", changed_seconds),
    }
    return [Metric(f"maepress_archive_{name}", "gauge", about, {"": value}) for name, (about, value) in values.items()]


def gauge(name: str, about: str, value: Callable[[], float]) -> Metric:
    """A gauge without labels, read now."""
    return Metric(name, "gauge", about, {"": value()})


def text_of(metrics: list[Metric]) -> str:
    """The text that Prometheus scrapes."""
    lines = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.about}", f"# TYPE {metric.name} {metric.kind}"]
        lines += [f"{metric.name}{labels} {value:.15g}" for labels, value in metric.samples.items()]
    return "\n".join(lines) + "\n"
