"""Lists of web addresses as sources: `s3://lists/laion.parquet#urls`, each address under a key of its own.

Listing asks each server for the version of its image by HEAD, in the order of the list, so that neighbours
on one server do not wait for each other; the answers are sorted on disk. `check=never` asks nobody: an
address that is in the archive is then never fetched again.
"""

import functools
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace

import pyarrow as pa

from pipeline.sources.external_sort import ENTRIES
from pipeline.sources.listed_store import ListedStore
from pipeline.sources.web.client import LARGEST, Facts, HttpOptions, client_of, start
from pipeline.sources.web.url_keys import INVALID, key_of_url
from pipeline.sources.web.url_list import check_list, files_of, texts_of
from pipeline.storage.base import Fetched, FetchFailed, StorageError, Store
from pipeline.storage.listing.key_globs import KeyGlobs

UNCHECKED = "not compared"
"""The etag of every address where no server is asked for one."""
TYPICAL_BYTES = 200_000
"""Size in the listing of an image whose size is not known: it only decides how work is divided."""
AHEAD = 1024
"""Addresses that are asked about at the same time, including those that wait for their turn."""
_TABLE_ROWS = 1 << 14


class UrlStore(ListedStore):
    """The images at the addresses of a list. Nothing is written, and nothing at a server can be deleted."""

    what, member, whole = "a list of addresses", "an image", "the server that it is on"
    sizes_are_known = False

    def __init__(
        self, inner: Store, view: str, globs: tuple[str, ...], column: str, options: HttpOptions, *, check: bool
    ) -> None:
        """Nothing is read yet.

        Args:
            inner: the store of the list's files.
            view: the part of the address from `#` on.
            globs: which of its files are the list.
            column: the column of addresses; empty to find it by its name.
            options: how addresses are fetched.
            check: ask for the version of each image when the source is listed.
        """
        super().__init__(inner, view)
        self._globs, self._column, self._options, self._check = KeyGlobs(globs), column, options, check

    def __reduce__(self) -> tuple[object, ...]:
        return _made, (self.inner, self._view, self._globs.include, self._column, self._options, self._check)

    def check_readable(self) -> None:
        """See Store; the column is looked for in the first file, as a mistyped one concerns all."""
        self.inner.check_readable()
        check_list(self.inner, files_of(self.inner, self._globs)[0], self._column)

    def is_empty(self) -> bool:
        """See Store: no server is asked."""
        return not any(keys for keys in self._keys())

    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        """See Store. A key is an address, so the list is not read again."""
        client = client_of(self._options)
        begun = [start(client.fetch(key, max_bytes)) for key in keys]
        try:
            found = [future.result() for future in begun]
        finally:
            for future in begun:
                future.cancel()  # after an interrupt; one that has ended stays as it is
        if self._check:
            return found
        return [got if isinstance(got, FetchFailed) else replace(got, etag=UNCHECKED) for got in found]

    def _keys(self) -> Iterator[list[str]]:
        for file in files_of(self.inner, self._globs):
            for texts in texts_of(self.inner, file, self._column):
                yield [key_of_url(text) for text in texts]

    def _tables(self) -> Iterator[pa.Table]:
        """See ListedStore."""
        if self._check:
            yield from self._asked(key for keys in self._keys() for key in keys)
            return
        for keys in self._keys():
            yield pa.table([keys, [TYPICAL_BYTES] * len(keys), [UNCHECKED] * len(keys)], schema=ENTRIES)

    def _asked(self, keys: Iterator[str]) -> Iterator[pa.Table]:
        """What servers say of the images, in the order of their answers."""
        client = client_of(self._options)
        done: queue.SimpleQueue[tuple[str, Future[Facts]]] = queue.SimpleQueue()
        waiting: set[Future[Facts]] = set()
        rows: list[tuple[str, int, str]] = []

        def take() -> None:
            key, future = done.get()
            waiting.discard(future)
            facts = future.result()
            size = min(facts.size or TYPICAL_BYTES, LARGEST)  # servers answer HEAD with a length of 0, or of anything
            rows.append((key, size, facts.etag))

        def table() -> pa.Table:
            made = pa.table(list(map(list, zip(*rows, strict=True))), schema=ENTRIES)
            rows.clear()
            return made

        try:
            for key in keys:
                if key.startswith(INVALID):
                    rows.append((key, 0, UNCHECKED))
                else:
                    future = start(client.facts(key))
                    waiting.add(future)
                    future.add_done_callback(functools.partial(_put, done, key))
                while len(waiting) >= AHEAD:
                    take()
                if len(rows) >= _TABLE_ROWS:
                    yield table()
            while waiting:
                take()
            if rows:
                yield table()
        finally:
            for future in list(waiting):
                future.cancel()


def _put(done: "queue.SimpleQueue[tuple[str, Future[Facts]]]", key: str, ended: "Future[Facts]") -> None:
    done.put((key, ended))


def _made(inner: Store, view: str, globs: tuple[str, ...], column: str, options: HttpOptions, check: bool) -> UrlStore:
    """For pickle, which passes no keywords."""
    return UrlStore(inner, view, globs, column, options, check=check)


def options_of(given: dict[str, str], where: str) -> tuple[HttpOptions, bool]:
    """The options in an address, and whether to ask for versions.

    Raises:
        StorageError: for a value that an option does not have.
    """
    words = {"check": ("head", "never"), "robots": ("heed", "ignore"), "private": ("no", "yes")}
    for name, allowed in words.items():
        if name in given and (given[name] or "yes") not in allowed:
            raise StorageError(f"{where}: {name}={given[name]} is none of {', '.join(allowed)}")
    per_host = given.get("perhost", "4")
    if not (per_host.isascii() and per_host.isdigit() and 1 <= int(per_host[:4]) <= 64):
        raise StorageError(f"{where}: perhost={per_host} is no number from 1 to 64")
    private = "private" in given and given["private"] != "no"
    return HttpOptions(int(per_host), private, given.get("robots") != "ignore"), given.get("check") != "never"
