"""The base of every source that is a view: it lists and fetches, and nothing can be written to it.

A kind of source is one class with three methods: `entries` (sorted keys), `fetch` (bytes by key)
and `child`. All jobs that read images take it as they take a folder.
"""

import io
from contextlib import AbstractContextManager
from typing import BinaryIO

from pipeline.storage.base import Fetched, StorageError, Store


class ReadOnlyStore(Store):
    """A store whose objects lie inside others; see `Store` for what a subclass must have.

    Attributes:
        inner: the store in which they lie.
    """

    what = "a view of other objects"
    """What the source is, for messages."""
    member = "a member"
    """What one of its objects is, and `whole` what it lies in, for messages."""
    whole = "its archive file"

    def __init__(self, inner: Store, view: str) -> None:
        """Args: inner: the store of the objects that are looked into. view: the part of the address from `#` on."""
        super().__init__(inner.url + view)
        self.inner, self._view = inner, view

    @property
    def absolute_url(self) -> str:
        """See Store."""
        return self.inner.absolute_url + self._view

    def place(self) -> tuple[str, ...]:
        """See Store: that of the inner store."""
        return self.inner.place()

    def root_exists(self) -> bool:
        """See Store."""
        return self.inner.root_exists()

    def check_readable(self) -> None:
        """See Store."""
        self.inner.check_readable()

    def open_input(self, key: str) -> BinaryIO:
        """See Store: objects of a view are images, which are read whole."""
        return io.BytesIO(self.get(key))

    def exists(self, key: str) -> bool:
        """See Store."""
        return isinstance(self.fetch([key])[0], Fetched)

    def put(self, key: str, data: bytes, modified_ns: int | None = None) -> None:
        """Not possible: the view is read-only."""
        raise self._read_only()

    def put_new(self, key: str, data: bytes, modified_ns: int | None = None) -> None:
        """Not possible: the view is read-only."""
        raise self._read_only()

    def open_output(self, key: str, *, new: bool = False) -> AbstractContextManager[BinaryIO]:
        """Not possible: the view is read-only."""
        raise self._read_only()

    def delete(self, key: str) -> None:
        """Not possible: the view is read-only."""
        raise self._read_only()

    def delete_unchanged(self, key: str, etag: str) -> bool:
        """Not possible: the view is read-only."""
        raise self._read_only()

    def check_writable(self) -> None:
        """Not possible: the view is read-only."""
        raise self._read_only()

    def problem_with_deleting(self) -> str:
        """See Store."""
        return f"{self.member} cannot be deleted from {self.whole}"

    def _read_only(self) -> StorageError:
        return StorageError(
            f"{self.url} is {self.what} and cannot be written: leave out #{self.url.rpartition('#')[2]}"
        )
