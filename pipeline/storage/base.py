"""The interface of every store: listing in key order, reading with etags, atomic writes.

A store is a folder or a bucket prefix. `pipeline.storage.open.open_store` chooses the class for a
URL: `LocalStore` (plain paths and file://), `S3Store` (s3://), `AzureStore` (abfs://, az://) or
`FsspecStore` (every other scheme of fsspec: gs://, memory:// ...).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from model.core.errors import MaepressError

FRAMES = "#frames="
"""Between the URL of a store of videos and the choice of frames."""


class StorageError(MaepressError):
    """A store cannot do what was asked; the text names the URL and the remedy."""


class Unlistable(StorageError):
    """One folder below a store's root cannot be listed; the others can."""


class Outage(StorageError):
    """A store gave no answer after all retries: no object is to blame."""


class Unwritable(StorageError):
    """A place takes nothing more, as its disk is full, read-only or failing: no object is to blame."""


class Occupied(StorageError):
    """Another object has the key, and must not be overwritten."""


NotListed = Callable[[str, str], None]
"""What is called with a folder's prefix and the reason why it cannot be listed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing.

    Attributes:
        key: path below the store's root, with "/" between parts. S3 allows keys that no file system
            does (`//`, `..`): see `pipeline.storage.keys`.
        size: in bytes.
        etag: changes when the content changes. The object store's own, or "SIZE-MTIME_NS" for a
            local file.
    """

    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object's bytes and their etag, which may differ from that of an earlier listing.

    Attributes:
        key: of the object.
        data: its bytes.
        etag: of these bytes.
        modified_ns: time of its last change in nanoseconds since 1970; None where the store does not
            tell. It does not count when results are compared.
        meta: labels and sidecars as JSON text, where the source reads them; None without any.
    """

    key: str
    data: bytes
    etag: str
    modified_ns: int | None = field(default=None, compare=False)
    meta: str | None = None


def too_large(size: int, max_bytes: int | None) -> str | None:
    """The reason not to read an object of this size, in one line; None when it may be read."""
    return None if max_bytes is None or size <= max_bytes else f"{size} bytes are more than {max_bytes}"


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """An object that could not be read after all retries, or is larger than the limit.

    Attributes:
        key: of the object.
        reason: one line for the rejections table, without credentials.
        transient: True when the cause was the store (unreachable, overloaded) and not the object.
        refused: True when the store answered, and refused this object (permission, expired
            credentials, a key that is disabled, an archived storage class). Its content is not to
            blame and stays the same when the refusal ends.
    """

    key: str
    reason: str
    transient: bool = False
    refused: bool = False

    @property
    def is_verdict(self) -> bool:
        """Whether another try is useless as long as the object does not change."""
        return not (self.transient or self.refused)


CHANGED = "the object changed while it was read"
"""The reason of a `FetchFailed` for ranges of a version that is no longer there."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """Ranges of one version of an object.

    Attributes:
        parts: the bytes of each range, in the order asked for; shorter where the object ends.
        size: of the whole object, in bytes.
        etag: of this version.
        modified_ns: as in `Fetched`.
    """

    parts: list[bytes]
    size: int
    etag: str
    modified_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An unfinished write. Its writer may still be at work or may be dead; no reader sees it.

    Attributes:
        key: of the object that it would become.
        started: seconds since 1970; for a local file, the time of its last change.
        name: the store's name for it: the id of an upload, the path of a temporary file.
    """

    key: str
    started: float
    name: str


class Readable(Protocol):
    """What files are opened from: a store, or a cache of one."""

    url: str

    def open_input(self, key: str) -> BinaryIO:
        """As `Store.open_input`."""

    def get(self, key: str, max_bytes: int | None = None) -> bytes:
        """As `Store.get`."""


class Store(ABC):
    """A folder or bucket prefix.

    A pickled store holds little more than its URL; each process opens its own connections.

    Attributes:
        url: as given by the user, without a trailing slash; used in messages.
        sizes_are_known: whether a listing has the objects' own sizes. Else they are means or guesses, and
            only decide how work is divided: whether an object is too large, or another one, shows when it
            is read.
    """

    sizes_are_known: bool = True

    def __init__(self, url: str) -> None:
        """Args: url: as given by the user, without a trailing slash; used in messages."""
        self.url = url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @abstractmethod
    def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
        """Every object below the root in byte order of the keys, streamed.

        Memory does not grow with their number.

        Args:
            unlisted: called with the prefix of each folder that cannot be listed, before any entry
                behind it, and with the reason; without it such a folder is an error.

        Raises:
            StorageError: when the root is missing, forbidden or unreachable, or a folder cannot be
                listed.
        """

    @abstractmethod
    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        """The objects' bytes, in the order of `keys`.

        Objects are read concurrently; transient failures are retried with backoff.

        Args:
            keys: of the objects.
            max_bytes: larger objects are not read, judged by their size now and not by a listing;
                None for no limit.
        """

    def fetch_listed(self, entries: Sequence[Entry], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        """As `fetch`, for objects of a listing: their etags may say what belongs to them."""
        return self.fetch([entry.key for entry in entries], max_bytes)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]], etag: str | None = None) -> Ranges | FetchFailed:
        """Ranges of bytes of one version of an object, read concurrently, with retries as in `fetch`.

        Args:
            key: of the object.
            ranges: first byte and number of bytes of each; none asks only for size and etag.
            etag: of the version to read; another one is a failure with the reason CHANGED. None
                reads the one that is there.
        """
        raise StorageError(f"{self.url}: objects of this kind of store cannot be read in parts")

    @abstractmethod
    def put(self, key: str, data: bytes, modified_ns: int | None = None) -> None:
        """Write one object. Readers see the old bytes or all new bytes, never a part.

        Args:
            key: of the object.
            data: its bytes.
            modified_ns: time of last change that it gets, in nanoseconds since 1970: a file's own, or
                the metadata entry `mtime` of an object (seconds, as rclone writes and reads it).
                Stores that have neither leave it out.

        Raises:
            StorageError: when it cannot be written after all retries.
        """

    @abstractmethod
    def put_new(self, key: str, data: bytes, modified_ns: int | None = None) -> None:
        """Write one object, unless the key has one: an equal one stays, another is never replaced.

        Of two writers at the same time one wins, where the store can decide that (a local folder,
        S3 with `If-None-Match`).

        Args:
            key: of the object.
            data: its bytes.
            modified_ns: as for `put`; an equal object that is there keeps its own.

        Raises:
            Occupied: when another object has the key.
            StorageError: when it cannot be written after all retries.
        """

    @abstractmethod
    def open_input(self, key: str) -> BinaryIO:
        """A seekable reader that fetches only the ranges that are read.

        Raises:
            StorageError: when there is no such object.
        """

    @abstractmethod
    def open_output(self, key: str, *, new: bool = False) -> AbstractContextManager[BinaryIO]:
        """A writer for one large object, which appears complete at the end of the `with` block.

        If the block raises, the object does not appear at all.

        Args:
            key: of the object.
            new: never replace an object, whatever its bytes.

        Raises:
            Occupied: at the end of the block, when `new` is set and the key has an object.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove one object, if it exists."""

    @abstractmethod
    def delete_unchanged(self, key: str, etag: str) -> bool:
        """Remove one object if it still has an etag, for objects that cannot be made again.

        S3 decides it in one step (`If-Match`), where the server can: see `refuses_stale_deletes`.
        Elsewhere the etag is read directly before; what is written between the two, a fraction of a
        millisecond in a local folder and one request's time in a bucket, is lost.

        Returns:
            Whether the object is gone, no matter who removed it; False when it has another etag and stays.

        Raises:
            StorageError: when it cannot be removed, or the answer is lost.
        """

    def is_empty(self) -> bool:
        """Whether there is no object, and no folder that cannot be listed.

        Raises:
            StorageError: as `entries` does.
        """
        unlisted = list[str]()
        return next(self.entries(lambda folder, _: unlisted.append(folder)), None) is None and not unlisted

    def listed_at(self) -> datetime | None:
        """When the listing that `entries` gives was made; None for one that is made when it is asked for."""
        return None

    def problem_with_deleting(self) -> str | None:
        """Why objects of this store cannot be deleted one by one, as a sentence; None when they can."""
        return None

    def undeletable(self) -> Callable[[str], str | None]:
        """A function that says why the object of a key has to stay, None where it may go; lists the whole store.

        So it is with a file that has other keys, too: they would lose it.
        """
        return lambda key: None

    def refuses_stale_deletes(self) -> bool:
        """Whether the store itself compares the etag of `delete_unchanged`; may write and remove a probe."""
        return False

    def keeps_versions(self) -> bool:
        """Whether a deleted object stays as an old version (a versioned bucket), as far as that can be known."""
        return False

    def may_hold_versions(self) -> bool | None:
        """Whether old versions of what was deleted may be there, also where new ones are kept no more.

        Returns:
            None where the store cannot be asked, or does not answer.
        """
        return None

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether the object exists."""

    @property
    def absolute_url(self) -> str:
        """The URL for other libraries and for processes with another working directory."""
        return self.url

    @abstractmethod
    def place(self) -> tuple[str, ...]:
        """Where the store is: its kind, then the parts of its path. Equal for all spellings of a URL."""

    def local_path(self) -> Path | None:
        """The store's folder, absolute, or None if it is not a folder of this machine."""
        return None

    def root_exists(self) -> bool:
        """Whether the root exists. An object store's prefix always does: it needs no creation."""
        return True

    def problem_with_key(self, key: str) -> str | None:
        """Why a key cannot name an object here, in a few words; None when it can."""
        return None

    def unfinished(self) -> Iterator[Unfinished]:
        """Unfinished writes below the root; empty for stores that have none or cannot list them.

        Raises:
            StorageError: when listing them is not allowed.
        """
        return iter(())

    def discard(self, unfinished: Unfinished) -> None:
        """Remove an unfinished write and free its space, if it still exists.

        Raises:
            StorageError: when that is not allowed.
        """
        raise NotImplementedError(f"{type(self).__name__} lists nothing unfinished")

    def check_plain(self, keys: Iterable[str]) -> None:
        """Check that what other libraries will open under these keys is a file or folder below the root, if it exists.

        Objects of a bucket always are; a local folder may hold links and devices.

        Raises:
            StorageError: naming the first that is not.
        """
        del keys  # sound, except where a subclass knows better

    def names_in(self, folder: str) -> list[str]:
        """Names in a folder of the local file system, for `check_plain`; empty for object stores."""
        return []

    @abstractmethod
    def check_readable(self) -> None:
        """Check that the root can be read; takes seconds, without long retries.

        Raises:
            StorageError: when the root is missing, forbidden or unreachable.
        """

    @abstractmethod
    def check_writable(self) -> None:
        """Check that the root can be written; creates a missing folder.

        Raises:
            StorageError: when the root cannot be written.
        """

    def check_target(self) -> None:
        """Check early, before long work, that the root can be written; no folder is created.

        Raises:
            StorageError: when it cannot, such as a folder whose place a file has.
        """
        self.check_writable()

    def child(self, name: str) -> "Store":
        """The store of a sub-folder."""
        return type(self)(f"{self.url}/{name}")

    def get(self, key: str, max_bytes: int | None = None) -> bytes:
        """One object's bytes.

        Args:
            key: of the object.
            max_bytes: a larger object is not read; None for no limit.

        Raises:
            Outage: when the store is to blame.
            StorageError: when this object cannot be read.
        """
        (result,) = self.fetch([key], max_bytes)
        if isinstance(result, FetchFailed):
            raise (Outage if result.transient else StorageError)(f"{self.url}/{key} cannot be read: {result.reason}")
        return result.data

    def require_equal(self, key: str, data: bytes) -> None:
        """Check that the object at a key has these bytes.

        Raises:
            Occupied: when it has others.
            StorageError: when it cannot be read.
        """
        if self.get(key) != data:
            raise Occupied(f"{self.url}/{key} exists and differs")
