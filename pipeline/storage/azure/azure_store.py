"""Containers of Azure Blob Storage, through obstore: Rust's object_store, which delta-rs uses, too.

One request brings an object's bytes, size and etag together. fsspec's driver needs three, and twenty times the
processor time (decision 0108).
"""

import contextlib
import functools
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Concatenate, ParamSpec, TypeVar, cast

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from pipeline.storage.at_once import at_once
from pipeline.storage.azure.azure_account import CHECK_ATTEMPTS, account_of, connection, is_forked, place_of
from pipeline.storage.azure.azure_errors import CANNOT_NAME, ERRORS, as_failure, explain, is_missing, reason, status_of
from pipeline.storage.azure.azure_files import BlobReader, BlobWriter
from pipeline.storage.azure.azure_ranges import plain, read_ranges
from pipeline.storage.base import (
    Entry,
    Fetched,
    FetchFailed,
    NotListed,
    Occupied,
    Ranges,
    StorageError,
    Store,
    Unlistable,
    too_large,
)
from pipeline.storage.keys import check_inside
from pipeline.storage.listing.ordered_walk import Page
from pipeline.storage.listing.prefetch import list_in_order
from pipeline.storage.listing.temporary_names import temporary_name
from pipeline.storage.modified import as_metadata, of_object

P = ParamSpec("P")
T = TypeVar("T")
_READ_AHEAD = 256 << 10


def _or_fsspec(method: Callable[Concatenate["AzureStore", P], T]) -> Callable[Concatenate["AzureStore", P], T]:
    """The method, or fsspec's where obstore would hang: in a process forked from one that used it."""

    @functools.wraps(method)
    def call(self: "AzureStore", *args: P.args, **more: P.kwargs) -> T:
        if not is_forked():
            return method(self, *args, **more)
        from pipeline.storage.fsspec_store import FsspecStore

        return cast(T, getattr(FsspecStore(self.url), method.__name__)(*args, **more))

    return cast(Callable[Concatenate["AzureStore", P], T], call)


class AzureStore(Store):
    """A container, or a prefix of one: `abfs://container/prefix`, `abfs://container@account.dfs.core.windows.net/prefix`."""

    def __init__(self, url: str) -> None:
        """Nothing is contacted yet.

        Args:
            url: of the container or prefix.

        Raises:
            StorageError: when the URL names no container, or another service's host.
        """
        super().__init__(url.rstrip("/"))
        self._place = place_of(url)
        self._prefix = "".join(f"{part}/" for part in self._place.prefix)

    def child(self, name: str) -> "AzureStore":
        """See Store."""
        return AzureStore(f"{self.url}/{check_inside(name, self.url)}")

    def place(self) -> tuple[str, ...]:
        """See Store."""
        return ("azure", account_of(self._place), self._place.container, *self._place.prefix)

    @_or_fsspec
    def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
        """See Store. Folder by folder: an account with a hierarchical namespace lists in the order of path parts."""
        return list_in_order(self._folder, self.url, unlisted)

    @_or_fsspec
    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        """See Store."""
        store = connection(self._place)

        def read(key: str) -> Fetched | FetchFailed:
            got = obstore.get(store, self._path(key))
            about = got.meta
            if refused := too_large(about["size"], max_bytes):
                return FetchFailed(key, refused)
            data = bytes(got.bytes())
            if len(data) != about["size"]:
                return FetchFailed(key, "the body was cut short", transient=True)
            return Fetched(key, data, plain(about), of_object(got.attributes, about["last_modified"]))

        return at_once(lambda key: self._as_failure(key, lambda: read(key)), keys)

    @_or_fsspec
    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]], etag: str | None = None) -> Ranges | FetchFailed:
        """See Store."""
        return self._as_failure(key, lambda: read_ranges(connection(self._place), self._path(key), key, ranges, etag))

    @_or_fsspec
    def put(self, key: str, data: bytes, modified_ns: int | None = None) -> None:
        """See Store: a single put is atomic."""
        self._put(key, data, modified_ns, "overwrite")

    @_or_fsspec
    def put_new(self, key: str, data: bytes, modified_ns: int | None = None) -> None:
        """See Store: a conditional put."""
        try:
            self._put(key, data, modified_ns, "create")
        except Occupied:  # also the answer to a repeated request, when that to the first one was lost
            self.require_equal(key, data)

    @_or_fsspec
    def open_input(self, key: str) -> BinaryIO:
        """See Store."""
        blob = BlobReader(connection(self._place), self._path(key), f"{self.url}/{key}")
        return cast(BinaryIO, io.BufferedReader(blob, _READ_AHEAD))

    @_or_fsspec
    @contextlib.contextmanager
    def open_output(self, key: str, *, new: bool = False) -> Iterator[BinaryIO]:
        """See Store: blocks that are committed together; until then they are no object, and Azure drops them in a week.

        If it must be new, Azure itself decides up to BLOCK_BYTES; above that there is a look before.
        """

        def look() -> None:
            if self.exists(key):
                raise Occupied(f"{self.url}/{key} exists")

        if new:
            look()
        blob = BlobWriter(connection(self._place), self._path(key), f"{self.url}/{key}")
        yield cast(BinaryIO, blob)
        blob.finish(look if new else None)

    @_or_fsspec
    def delete(self, key: str) -> None:
        """See Store."""
        try:
            obstore.delete(connection(self._place), self._path(key))
        except ERRORS as e:
            if not is_missing(e):
                raise explain(e, f"{self.url}/{key}") from e

    @_or_fsspec
    def delete_unchanged(self, key: str, etag: str) -> bool:
        """See Store: the etag is read directly before."""
        if (found := self._etag_of(key)) != etag:
            return found is None
        self.delete(key)
        return True

    @_or_fsspec
    def exists(self, key: str) -> bool:
        """See Store."""
        return self.problem_with_key(key) is None and self._etag_of(key) is not None

    def problem_with_key(self, key: str) -> str | None:
        """See Store."""
        parts = key.split("/")
        sound = all(part not in ("", ".", "..") for part in parts)
        return None if sound and not any(ord(char) < 32 or ord(char) == 127 for char in key) else CANNOT_NAME

    @_or_fsspec
    def check_readable(self) -> None:
        """See Store."""
        self._first_page(connection(self._place, CHECK_ATTEMPTS))

    @_or_fsspec
    def check_writable(self) -> None:
        """See Store."""
        store = connection(self._place, CHECK_ATTEMPTS)
        self._first_page(store)
        probe = self._prefix + temporary_name()
        try:
            obstore.put(store, probe, b"", use_multipart=False)
            obstore.delete(store, probe)
        except ERRORS as e:
            raise explain(e, self.url) from e

    def _first_page(self, store: Any) -> None:
        try:
            next(iter(obstore.list(store, self._prefix or None, chunk_size=1)), None)
        except obstore.exceptions.InvalidPathError:
            return  # it answers; `entries` says which folder it is
        except ERRORS as e:
            raise explain(e, self.url) from e

    def _path(self, key: str) -> str:
        if problem := self.problem_with_key(key):
            raise StorageError(f"the key {key[:80]!r} cannot be in {self.url}: {problem}")
        return self._prefix + key

    def _put(self, key: str, data: bytes, modified_ns: int | None, mode: Any) -> None:
        more = as_metadata(modified_ns)
        try:
            path = self._path(key)
            obstore.put(connection(self._place), path, data, attributes=more, mode=mode, use_multipart=False)
        except (AlreadyExistsError, PreconditionError) as e:
            raise Occupied(f"{self.url}/{key} exists") from e
        except ERRORS as e:
            raise explain(e, f"{self.url}/{key}") from e

    def _folder(self, prefix: str) -> Iterable[Page]:
        start = len(self._prefix)
        try:
            found = obstore.list_with_delimiter(connection(self._place), (self._prefix + prefix) or None)
        except obstore.exceptions.InvalidPathError as e:
            raise Unlistable(f"{self.url}/{prefix} holds an object that cannot be read: {CANNOT_NAME}") from e
        except ERRORS as e:
            if status_of(e) == 403:
                raise Unlistable(f"{self.url}/{prefix} cannot be listed: {reason(e)}") from e
            raise explain(e, f"{self.url}/{prefix}") from e
        files = [Entry(about["path"][start:], about["size"], plain(about)) for about in found["objects"]]
        return [Page(files, [f"{folder[start:]}/" for folder in found["common_prefixes"]])]

    def _etag_of(self, key: str) -> str | None:
        """The etag of an object, None if there is none."""
        try:
            return plain(obstore.head(connection(self._place), self._path(key)))
        except ERRORS as e:
            if is_missing(e):
                return None
            raise explain(e, f"{self.url}/{key}") from e

    @staticmethod
    def _as_failure(key: str, read: Callable[[], T]) -> T | FetchFailed:
        """The result of `read`; an error as the failure of this object."""
        try:
            return read()
        except StorageError as e:
            return FetchFailed(key, e.message)
        except ERRORS as e:
            return as_failure(e, key)
