"""What every store promises: keys in byte order, bytes with the etag they had, writes that are whole or absent.

A store is a folder or a bucket prefix. `pipeline.storage.open.open_store` picks the class for a URL; the classes are
`LocalStore` (plain paths and file://), `S3Store` (s3://) and `FsspecStore` (everything else that fsspec knows: gs://,
memory:// ...).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from model.core.errors import MaepressError


class StorageError(MaepressError):
    """A store cannot be used as asked; the text names the URL and what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing.

    Attributes:
        key: path below the store's root with "/" between parts. S3 allows what no file system does (`//`, `..`): see
            `pipeline.storage.keys`.
        size: bytes.
        etag: changes when the content changes: the object store's own, or "SIZE-MTIME_NS" of a local file.
    """

    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object's bytes and the etag of exactly these bytes (not of an earlier listing)."""

    key: str
    data: bytes
    etag: str


def too_large(size: int, max_bytes: int | None) -> str | None:
    """The reason not to read an object of so many bytes; None when there is none."""
    return None if max_bytes is None or size <= max_bytes else f"{size} bytes are more than {max_bytes}"


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """An object that could not be read after all retries, or is larger than what may be.

    Attributes:
        key: the object.
        reason: one line for the rejections table, without credentials.
        transient: True when the store was to blame (unreachable, overloaded) and not the object: such a key should be
            tried again by the next run and not be rejected for good.
    """

    key: str
    reason: str
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a writer has begun and not ended; perhaps it still works, perhaps it is dead. No reader sees it.

    Attributes:
        key: of the object that it would become.
        started: seconds since 1970, of the last sign that it is worked on where there is one.
        name: what the store calls it: the id of an upload, the path of a temporary file.
    """

    key: str
    started: float
    name: str


class Store(ABC):
    """A folder or bucket prefix.

    Holds nothing but its URL, so it pickles to other processes; connections are made where it is used.
    """

    def __init__(self, url: str) -> None:
        """Args: url: as the user gave it, without a trailing slash; kept for messages."""
        self.url = url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Every object below the root in byte order of its key, streamed: memory does not grow with their number.

        Raises:
            StorageError: when the root is missing, forbidden or unreachable.
        """

    @abstractmethod
    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        """The objects' bytes, in the order of `keys`.

        They are read concurrently; transient failures are retried with backoff.

        Args:
            keys: to read.
            max_bytes: larger objects are not read, whatever a listing said of their size; None: all are.
        """

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write one object; readers see the old bytes or all of the new ones, never a part.

        Raises:
            StorageError: when it cannot be written after all retries.
        """

    @abstractmethod
    def open_input(self, key: str) -> BinaryIO:
        """A seekable reader that fetches only the ranges asked for.

        Raises:
            StorageError: when there is no such object.
        """

    @abstractmethod
    def open_output(self, key: str) -> AbstractContextManager[BinaryIO]:
        """A writer for one large object.

        It appears whole when the `with` block ends, and not at all when the block raises.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove one object; absent is fine."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether there is such an object."""

    @property
    def absolute_url(self) -> str:
        """The URL as a process with another working directory, or another library, can open it."""
        return self.url

    def local_path(self) -> Path | None:
        """The folder that the store is, absolute; None for a store that is not a folder of this machine."""
        return None

    def root_exists(self) -> bool:
        """Whether the root exists. An object store's prefix always does: it needs no creation."""
        return True

    def problem_with_key(self, key: str) -> str | None:
        """Why a key cannot name an object here, in a few words; None when it can."""
        return None

    def unfinished(self) -> Iterator[Unfinished]:
        """What writers have begun below the root and not ended; nothing where a store has no such thing or cannot tell.

        Raises:
            StorageError: when that may not be listed.
        """
        return iter(())

    def discard(self, unfinished: Unfinished) -> None:
        """Remove what will never be finished, and what it occupies; gone is fine.

        Raises:
            StorageError: when that may not be done.
        """
        raise NotImplementedError(f"{type(self).__name__} lists nothing unfinished")

    @abstractmethod
    def check_readable(self) -> None:
        """Fail early and quickly (seconds, no long retries).

        Raises:
            StorageError: when the root is missing, forbidden or unreachable.
        """

    @abstractmethod
    def check_writable(self) -> None:
        """Make the root where that needs making (a local folder), and write and remove a small object.

        Raises:
            StorageError: when the root cannot be written.
        """

    def child(self, name: str) -> "Store":
        """The store of a sub-folder."""
        return type(self)(f"{self.url}/{name}")

    def get(self, key: str) -> bytes:
        """One object's bytes.

        Raises:
            StorageError: when it cannot be read.
        """
        (result,) = self.fetch([key])
        if isinstance(result, FetchFailed):
            raise StorageError(f"{self.url}/{key} cannot be read: {result.reason}")
        return result.data
