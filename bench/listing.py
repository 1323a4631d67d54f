"""Time to list a bucket with high latency: one request after the other, and several at once.

    python -m bench.listing                        # 200,000 keys, 80 ms per response
    python -m bench.listing --keys 1000000 --milliseconds 20

Responses are simulated, with a delay; the client is the code that lists S3. The buckets have the same number of keys:
in many small folders, in few large ones, in two levels of folders, in none. "Flat" is for servers that sort whole keys,
as Amazon S3 does, "by folder" for servers that sort by parts of the path.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table

from pipeline.storage.base import Entry
from pipeline.storage.listing.ordered_walk import Page, walk
from pipeline.storage.listing.prefetch import list_in_order
from pipeline.storage.s3.flat_listing import FlatListing, Request
from tests.sorted_server import SortedServer

URL = "s3://made-up"
SHAPES: dict[str, Callable[[int], str]] = {
    "folders of 200": lambda number: f"{number // 200:06d}/{number:09d}",
    "folders of 2,500": lambda number: f"{number // 2500:06d}/{number:09d}",
    "40 x n folders of 500": lambda number: f"{number // 500 % 40:02d}/{number // 20_000:06d}/{number:09d}",
    "no folders": lambda number: f"{number:09d}",
}
"""Maps a number to a key."""


class Distant(SortedServer):
    """A simulated server that responds after a delay."""

    seconds = 0.0

    def page(self, wanted: Request) -> tuple[Page, str | None]:
        """See SortedServer."""
        time.sleep(self.seconds)
        return super().page(wanted)

    def below(self, prefix: str) -> Iterator[Page]:
        """Everything below a prefix."""
        return self._all(Request(prefix))

    def _all(self, wanted: Request) -> Iterator[Page]:
        page, more = self.page(wanted)
        yield page
        while more:
            page, more = self.page(wanted._replace(token=more))
            yield page

    def folder(self, prefix: str) -> Iterator[Page]:
        """A folder's own level."""
        return self._all(Request(prefix, "/"))


def main() -> None:
    """Measure every bucket both ways and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.listing", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--milliseconds", type=float, default=80.0, help="latency of each response")
    options = parser.parse_args()
    table = Table(title=f"{options.keys:,} keys, {options.milliseconds:g} ms an answer", box=None, title_justify="left")
    for heading in ("bucket", "listed", "requests", "s", "at once: requests", "s", "keys/s", "times as fast"):
        table.add_column(heading, justify="left" if heading in ("bucket", "listed") else "right")
    for (name, key), way in itertools.product(SHAPES.items(), ("flat", "by folder")):
        server = Distant(map(key, range(options.keys)))
        server.seconds = options.milliseconds / 1e3
        flat = way == "flat"
        keys, before = _timed(walk(server.below if flat else server.folder))
        requests, server.pages = server.pages, 0
        same, after = _timed(list_in_order(FlatListing(server.page, URL) if flat else server.folder, URL))
        assert keys == same
        cells = [f"{requests:,}", f"{before:.1f}", f"{server.pages:,}", f"{after:.1f}", f"{keys / after:,.0f}"]
        table.add_row(name, way, *cells, f"{before / after:.1f}")
    Console(width=120).print(table)


def _timed(entries: Iterator[Entry]) -> tuple[int, float]:
    """Number of entries, and seconds to list them."""
    begin = time.monotonic()
    return sum(1 for _ in entries), time.monotonic() - begin


if __name__ == "__main__":
    main()
