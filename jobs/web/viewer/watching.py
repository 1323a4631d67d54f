"""`/metrics` of the viewer, for Prometheus."""

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Upper bounds in seconds of the histogram."""
PAGES = ("", "view", "image", "original", "rejections", "duplicates", "static", "healthz", "metrics")
MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, which nobody asks for


class Requests:
    """ASGI middleware: counts requests by page and status, and their seconds."""

    def __init__(self, app: ASGIApp, state: "ViewerMetrics") -> None:
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
            self._state.answered(first or "home" if first in PAGES else "other", status, time.perf_counter() - begun)


class ViewerMetrics:
    """The metrics of one viewer: how many requests were answered and in what time, and its archive's totals."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "maepress_viewer_requests_total",
            "requests answered, by page and status",
            ("page", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "maepress_viewer_request_seconds",
            "seconds until an answer was complete",
            ("page",),
            registry=self._registry,
            buckets=BOUNDS,
        )
        gauges = {
            "maepress_viewer_making": "images being decoded, or waiting for it",
            "maepress_viewer_cache_bytes": "bytes of images kept in memory",
            "maepress_archive_images": "rows of the archive",
            "maepress_archive_source_bytes": "bytes of their sources",
            "maepress_archive_shard_bytes": "bytes of the shards that hold them",
            "maepress_archive_rejected": "objects rejected and not in the archive",
            "maepress_archive_damaged": "problems that the last checks of the shards found",
            "maepress_archive_changed_timestamp_seconds": "time of the last commit, in seconds since 1970",
        }
        self._gauges = {name: Gauge(name, about, registry=self._registry) for name, about in gauges.items()}

    def answered(self, page: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(page, str(status)).inc()
        self._seconds.labels(page).observe(seconds)

    def text(self, archive: Any, changed_seconds: float, making: int, cache_bytes: int) -> bytes:
        """The text that Prometheus scrapes.

        Args:
            archive: an `ArchiveStatus`.
            changed_seconds: time of the current version, in seconds since 1970.
            making: images being decoded, or waiting for it.
            cache_bytes: of images kept in memory.
        """
        values = (
            *(making, cache_bytes, archive.rows, archive.source_bytes, archive.shard_bytes, archive.rejected),
            *(len(archive.checked.problems), changed_seconds),
        )
        for gauge, value in zip(self._gauges.values(), values, strict=True):
            gauge.set(value)
        return generate_latest(self._registry)
