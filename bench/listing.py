"""Listing a bucket whose every answer takes a while, one request after the other and several at once.

    python -m bench.listing                        # 200,000 keys, 80 ms an answer
    python -m bench.listing --keys 1000000 --milliseconds 20

The store's code is the real one but for the last step: answers are made up, as a server would give them, after a pause.
Three buckets with the same number of keys: in many small folders, in few large ones, in two levels of folders. "Flat"
is the way of Amazon S3 (whole keys in byte order), "by folder" that of servers that sort the parts of a path.
"""

import argparse
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.table import Table

from pipeline.listing import Page, ordered, walk
from pipeline.s3_store import PAGE_KEYS, S3Store
from pipeline.store import Entry

SHAPES: dict[str, Callable[[int], tuple[int, ...]]] = {
    "folders of 200": lambda keys: (keys // 200, 200),
    "folders of 2,500": lambda keys: (keys // 2500, 2500),
    "40 x n folders of 500": lambda keys: (40, keys // 20_000, 500),
}
"""Number of names on each level."""


class MadeUp(S3Store):
    """A bucket with so many names in every folder of a level."""

    def __init__(self, counts: Sequence[int], seconds: float) -> None:
        super().__init__("s3://made-up")
        self._counts, self._seconds = counts, seconds
        self._lock = threading.Lock()
        self.requests = 0

    def _page(self, prefix: str, delimiter: str, token: str | None = None) -> tuple[Page, str | None]:
        with self._lock:
            self.requests += 1
        time.sleep(self._seconds)
        level, start = prefix.count("/"), int(token or 0)
        names: Iterator[str]
        if delimiter or level + 1 == len(self._counts):
            names = (f"{i:06d}" for i in range(start, min(start + PAGE_KEYS, self._counts[level])))
            total = self._counts[level]
        else:
            total = 1
            for count in self._counts[level:]:
                total *= count
            names = (self._name(i, level) for i in range(start, min(start + PAGE_KEYS, total)))
        more = str(start + PAGE_KEYS) if start + PAGE_KEYS < total else None
        if delimiter and level + 1 < len(self._counts):
            return Page([], [f"{prefix}{name}/" for name in names]), more
        return Page([Entry(prefix + name, 1, "e") for name in names], []), more

    def one_by_one(self, delimiter: str) -> Iterator[Entry]:
        """The same entries, a request after the other."""
        return ordered(walk(lambda prefix: self._pages(prefix, delimiter)), self.url)

    def _name(self, number: int, level: int) -> str:
        parts = []
        for count in reversed(self._counts[level:]):
            number, part = divmod(number, count)
            parts.append(f"{part:06d}")
        return "/".join(reversed(parts))


def main() -> None:
    """Measure every bucket both ways and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.listing", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--milliseconds", type=float, default=80.0, help="that each answer takes")
    options = parser.parse_args()
    table = Table(title=f"{options.keys:,} keys, {options.milliseconds:g} ms an answer", box=None, title_justify="left")
    for heading in ("bucket", "listed", "requests", "s", "at once: requests", "s", "keys/s", "times as fast"):
        table.add_column(heading, justify="left" if heading in ("bucket", "listed") else "right")
    for (name, shape), way in itertools.product(SHAPES.items(), ("flat", "by folder")):
        store = MadeUp(shape(options.keys), options.milliseconds / 1e3)
        keys, before = _timed(store.one_by_one("" if way == "flat" else "/"))
        requests, store.requests = store.requests, 0
        same, after = _timed(store.entries_flat() if way == "flat" else store.entries_by_folder())
        assert keys == same
        cells = [f"{requests:,}", f"{before:.1f}", f"{store.requests:,}", f"{after:.1f}", f"{keys / after:,.0f}"]
        table.add_row(name, way, *cells, f"{before / after:.1f}")
    Console(width=120).print(table)


def _timed(entries: Iterator[Entry]) -> tuple[int, float]:
    """Number of entries, and seconds."""
    begin = time.monotonic()
    return sum(1 for _ in entries), time.monotonic() - begin


if __name__ == "__main__":
    main()
