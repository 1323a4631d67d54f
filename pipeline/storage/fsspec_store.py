"""Stores of every other scheme of fsspec: gs://, sftp://, memory:// ...

They are listed with `ls`, several folders at a time; memory holds the names of these folders.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

import fsspec
from fsspec.archive import AbstractArchiveFileSystem

from model.core.boundary import reason_of
from model.core.extras import remedy
from pipeline.storage.at_once import at_once
from pipeline.storage.base import (
    CHANGED,
    Entry,
    Fetched,
    FetchFailed,
    NotListed,
    Occupied,
    Outage,
    Ranges,
    StorageError,
    Store,
    Unlistable,
    too_large,
)
from pipeline.storage.joined_ranges import joined
from pipeline.storage.keys import check_inside, leads_out
from pipeline.storage.listing.ordered_walk import Page
from pipeline.storage.listing.prefetch import list_in_order
from pipeline.storage.listing.temporary_names import temporary_name
from pipeline.storage.local.store import LocalStore
from pipeline.storage.modified import TIMES, of_details

EXTRAS = {
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("sftp", "ssh"), "sftp"),
}
"""The extra that brings the package of a scheme."""
SOURCES_ONLY = ("sftp", "ssh")
"""Schemes that are only read: files there are neither replaced in one step nor created exclusively."""
T = TypeVar("T")


class FsspecStore(Store):
    """A store that fsspec opens, `SCHEME://...`.

    The etag is the service's own; if it has none, a hash of the object's size and time.
    """

    def __init__(self, url: str) -> None:
        """Args: url: `SCHEME://...`.

        Raises:
            StorageError: for a scheme that fsspec does not know, or whose package is not installed.
        """
        super().__init__(url)
        scheme = url.split("://", 1)[0]
        self._scheme = scheme
        _options(scheme)  # before its driver is imported
        try:
            fsspec.get_filesystem_class(scheme)
        except ValueError:
            raise StorageError(f"{url}: maepress knows no {scheme}:// (use s3://, gs://, file:// or a path)") from None
        except ImportError as e:
            extra = EXTRAS.get(scheme)
            lacking = f"{scheme}:// needs a package that is not installed: {remedy(extra)}" if extra else str(e)
            raise StorageError(f"{url}: {lacking}") from None

    def child(self, name: str) -> "FsspecStore":
        """See Store."""
        return FsspecStore(f"{self.url}/{check_inside(name, self.url)}")

    def root_exists(self) -> bool:
        """See Store: some of fsspec's file systems have folders that must be created."""
        fs, path = self._at("")
        return bool(fs.exists(path))

    def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
        """See Store."""
        self.check_readable()
        return list_in_order(self._folder, self.url, unlisted)

    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        """See Store; the etag is read before and after the bytes and must not change."""
        return at_once(lambda key: self._fetch_one(key, max_bytes), keys)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]], etag: str | None = None) -> Ranges | FetchFailed:
        """See Store; the etag is read before and after the bytes and must not change."""

        def read() -> Ranges | FetchFailed:
            fs, path = self._at(key)
            details = fs.info(path)
            size, before = int(details["size"]), _etag(details)
            if etag not in (None, before):
                return FetchFailed(key, CHANGED, transient=True)
            together = joined(ranges)
            ends = [(start, min(size, start + count)) for start, count in together.blocks]
            cut = at_once(lambda end: bytes(fs.cat_file(path, *end)) if end[0] < end[1] else b"", ends)
            parts = together.parts(cut)
            if ranges and _etag(fs.info(path)) != before:
                return FetchFailed(key, CHANGED, transient=True)
            return Ranges(parts, size, before, of_details(details))

        return self._as_failure(key, read)

    def put(self, key: str, data: bytes, modified_ns: int | None = None) -> None:
        """See Store: object stores write whole objects, without `modified_ns`."""
        del modified_ns
        with self.open_output(key) as file:
            file.write(data)

    def put_new(self, key: str, data: bytes, modified_ns: int | None = None) -> None:
        """See Store: fsspec's exclusive write where a file system has one, else a look before."""
        self._require_writable()
        fs, path = self._at(key)
        if not fs.exists(path):
            try:
                fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
                fs.pipe_file(path, data, mode="create")
                return
            except FileExistsError:
                pass
            except (TypeError, ValueError, NotImplementedError):  # it knows no such mode
                self.put(key, data)
                return
        self.require_equal(key, data)

    def place(self) -> tuple[str, ...]:
        """See Store: the path as its file system writes it."""
        kind = fsspec.get_filesystem_class(self.url.split("://", 1)[0])
        name = kind.protocol if isinstance(kind.protocol, str) else kind.protocol[0]
        with self._opening():
            path = str(kind._strip_protocol(self.url))
        if name == "file":  # `local://`
            return LocalStore(path).place()
        if self._scheme in SOURCES_ONLY:  # each host has its own paths
            return (name, urlsplit(self.url).netloc, *(part for part in path.split("/") if part))
        return (name, *(part for part in path.split("/") if part))

    def open_input(self, key: str) -> BinaryIO:
        """See Store."""
        fs, path = self._at(key)
        try:
            return cast(BinaryIO, fs.open(path, "rb"))
        except FileNotFoundError:
            raise StorageError(f"{self.url}/{key} does not exist") from None

    @contextlib.contextmanager
    def open_output(self, key: str, *, new: bool = False) -> Iterator[BinaryIO]:
        """See Store: fsspec's own two-step commit of a file, with a look before if it must be new."""
        self._require_writable()
        fs, path = self._at(key)
        if new and fs.exists(path):
            raise Occupied(f"{self.url}/{key} exists")
        fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        file = fs.open(path, "wb", autocommit=False)
        try:
            yield file
            file.close()
        except BaseException:
            file.discard()
            raise
        file.commit()

    def delete(self, key: str) -> None:
        """See Store."""
        fs, path = self._at(key)
        with contextlib.suppress(FileNotFoundError):
            fs.rm_file(path)

    def delete_unchanged(self, key: str, etag: str) -> bool:
        """See Store: the etag is read directly before."""
        fs, path = self._at(key)
        try:
            if _etag(fs.info(path)) != etag:
                return False
            fs.rm_file(path)
        except FileNotFoundError:
            return True
        except OSError as e:
            raise StorageError(f"{self.url}/{key} cannot be removed: {type(e).__name__}") from e
        return True

    def problem_with_deleting(self) -> str | None:
        """See Store."""
        kind = fsspec.get_filesystem_class(self.url.split("://", 1)[0])
        archive = issubclass(kind, AbstractArchiveFileSystem)
        return "a member cannot be deleted from an archive file" if archive else None

    def exists(self, key: str) -> bool:
        """See Store."""
        if leads_out(key):
            return False
        fs, path = self._at(key)
        return bool(fs.isfile(path))

    def check_readable(self) -> None:
        """See Store."""
        fs, path = self._at("")
        try:
            found = fs.exists(path)
        except Exception as e:  # fsspec's implementations differ for a failed connection
            raise StorageError(f"{self.url} cannot be read: {reason_of(e)}") from e
        if not found:
            raise StorageError(f"{self.url} does not exist")

    def check_writable(self) -> None:
        """See Store."""
        probe = temporary_name()
        try:
            self.put(probe, b"")
        except StorageError:
            raise
        except Exception as e:
            raise StorageError(f"{self.url} cannot be written: {reason_of(e)}") from e
        self.delete(probe)

    def problem_with_key(self, key: str) -> str | None:
        """See Store: some of fsspec's file systems are folders of another machine."""
        return leads_out(key)

    def _require_writable(self) -> None:
        if self._scheme in SOURCES_ONLY:
            raise StorageError(
                f"{self.url}: maepress reads from {self._scheme}:// and does not write there, as a broken connection "
                "would leave half a file: give a folder, s3://, gs:// or abfs://"
            )

    def _at(self, key: str) -> tuple[Any, str]:
        check_inside(key, self.url)
        with self._opening():
            fs, path = fsspec.core.url_to_fs(self.url, **_options(self._scheme))
        return fs, f"{path.rstrip('/')}/{key}" if key else path

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Each of fsspec's file systems fails in its own way where it lacks something."""
        try:
            yield
        except Exception as e:
            raise StorageError(
                f"{self.url} cannot be opened ({reason_of(e)}): maepress reads and writes folders and buckets, as "
                "s3://, gs://, az://, file:// or a path"
            ) from e

    def _folder(self, prefix: str) -> Iterable[Page]:
        fs, root = self._at("")
        start = len(root.rstrip("/")) + 1
        files, folders = [], []
        try:
            listed = fs.ls(f"{root.rstrip('/')}/{prefix}".rstrip("/"), detail=True)
        except PermissionError as e:
            raise Unlistable(f"the folder {self.url}/{prefix} cannot be listed: {e.strerror or 'forbidden'}") from None
        except Exception as e:  # each driver has errors of its own
            raise Outage(f"{self.url}/{prefix} cannot be listed: {reason_of(e)}") from e
        for found in listed:
            key = found["name"][start:].rstrip("/")
            if found["type"] == "directory":
                folders.append(key + "/")
            else:
                files.append(Entry(key, found["size"], _etag(found)))
        return [Page(files, folders)]

    def _fetch_one(self, key: str, max_bytes: int | None) -> Fetched | FetchFailed:
        def read() -> Fetched | FetchFailed:
            fs, path = self._at(key)
            details = fs.info(path)
            size = details.get("size")
            if details.get("type") == "directory" or not isinstance(size, int):
                return FetchFailed(key, "it is no file of known size")
            if reason := too_large(size, max_bytes):
                return FetchFailed(key, reason)
            before = _etag(details)
            data = fs.cat_file(path, end=size) if size else b""
            details = fs.info(path)
            if _etag(details) != before:
                return FetchFailed(key, CHANGED, transient=True)
            return Fetched(key, data, before, of_details(details))

        return self._as_failure(key, read)

    @staticmethod
    def _as_failure(key: str, read: Callable[[], T]) -> T | FetchFailed:
        """The result of `read`; an error as the failure of this object."""
        try:
            return read()
        except StorageError as e:
            return FetchFailed(key, e.message)
        except FileNotFoundError:
            return FetchFailed(key, "the object does not exist")
        except PermissionError:
            return FetchFailed(key, "permission denied", refused=True)
        except Exception as e:  # each driver has errors of its own for a connection that fails
            return FetchFailed(key, f"{type(e).__name__} while reading", transient=True)


def _options(scheme: str) -> dict[str, Any]:
    """What a driver is opened with beside its URL and the environment."""
    if scheme in SOURCES_ONLY:
        return {"known_hosts": ()}  # ~/.ssh/known_hosts; sshfs by itself accepts any host
    if scheme in ("gs", "gcs"):
        # Else each bucket is first asked for its kind, with a permission of its own. Read when gcsfs is imported.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    return {"use_listings_cache": False}


def _etag(details: dict[str, Any]) -> str:
    own = details.get("etag") or details.get("ETag") or details.get("md5Hash")
    if own:
        return str(own).strip('"')
    when = next((details[name] for name in TIMES if name in details), "")
    if isinstance(when, datetime):  # one form for all services
        when = when.timestamp()
    return f"{details['size']}-{hashlib.sha256(str(when).encode()).hexdigest()[:16]}"
