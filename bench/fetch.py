"""Fetch time by number of requests in flight: objects from a real S3 server behind a simulated latency.

    python -m bench.fetch                           # 20 objects of 100 kB per piece, 0 and 40 ms of latency
    python -m bench.fetch --objects 128 --kb 16 --milliseconds 80

A piece is fetched by one task, and a machine runs several tasks. The time is wall-clock time of a piece, the lowest of
several. More requests hide more of the latency until the processors of server and client are busy.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from jobs.demo.s3_server import s3_server, variables_set
from pipeline.storage.base import Fetched
from pipeline.storage.s3.store import S3Store
from tests.proxy import Proxy

IN_FLIGHT = (1, 2, 4, 8, 16, 32, 64, 128)
PIECES = 3


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.fetch", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--objects", type=int, default=20, help="objects per piece")
    parser.add_argument("--kb", type=int, default=100, help="size of an object")
    parser.add_argument("--milliseconds", type=float, nargs="*", default=[0.0, 40.0], help="latency of the server")
    options = parser.parse_args()
    table = Table(title=f"pieces of {options.objects} objects of {options.kb} kB", box=None, title_justify="left")
    for heading in ("in flight", *(f"{delay:g} ms away: ms per piece" for delay in options.milliseconds)):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory(prefix="maepress-bench-") as folder, s3_server(Path(folder)) as server:
        with server.environment():
            store = S3Store(server.bucket)
            keys = [f"{number:04d}.jpg" for number in range(options.objects)]
            for key in keys:
                store.put(key, os.urandom(1000 * options.kb))
        with Proxy(server.endpoint) as proxy, variables_set(server.variables() | {"AWS_ENDPOINT_URL": proxy.endpoint}):
            for count in IN_FLIGHT:
                cells = []
                for delay in options.milliseconds:
                    proxy.delay_seconds = delay / 1e3
                    cells.append(f"{1e3 * _piece(store, keys, count):.0f}")
                table.add_row(str(count), *cells)
    Console(width=120).print(table)
    return 0


def _piece(store: S3Store, keys: list[str], in_flight: int) -> float:
    """Seconds per piece, the lowest of several."""
    least = float("inf")
    with patch("pipeline.storage.s3.store.CONCURRENCY", in_flight):
        for _ in range(PIECES + 1):  # the first opens connections
            begin = time.perf_counter()
            found = store.fetch(keys)
            least = min(least, time.perf_counter() - begin)
            assert all(isinstance(one, Fetched) for one in found)
    return least


if __name__ == "__main__":
    sys.exit(main())
