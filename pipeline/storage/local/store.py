"""Folders of the local (or mounted) file system.

Every key is a path below the folder, for reading as for writing. Only regular files are read:
reading a socket, a pipe or a device may never end. In a source, symbolic links are followed, except
one that leads to a folder above itself. In an archive, which may come from others, links are never
followed, as they lead to anything that the reader may read, or a vacuum delete.
"""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from pipeline.storage.base import (
    CHANGED,
    Entry,
    Fetched,
    FetchFailed,
    NotListed,
    Occupied,
    Ranges,
    StorageError,
    Store,
    Unfinished,
    Unlistable,
    too_large,
)
from pipeline.storage.keys import check_key, problem_with
from pipeline.storage.listing.ordered_walk import Page, walk
from pipeline.storage.listing.temporary_names import is_temporary, temporary_name
from pipeline.storage.local.disk_errors import cannot_write
from pipeline.storage.local.linked_files import LinkedFiles
from pipeline.storage.local_names import key_of, path_of

_READERS = 8
_VERDICTS = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.ENXIO})
"""Errors that will be the same in the next run, unless somebody changes the file."""


class LocalStore(Store):
    """A local folder. An etag is "SIZE-MTIME_NS"."""

    def __init__(self, url: str, *, links: bool = True) -> None:
        """Nothing is read yet.

        Args:
            url: a path. It is made absolute, so that workers with another working directory find
                the folder.
            links: follow symbolic links below the folder (the folder itself may be one).
        """
        super().__init__(url.rstrip("/") or "/")
        self.root = Path(self.url).expanduser().absolute()
        self._links, self._top = links, self.root

    def child(self, name: str) -> "LocalStore":
        """See Store. Absolute as well, for workers with another working directory."""
        child = LocalStore(str(self.root / path_of(check_key(name))), links=self._links)
        child.url, child._top = f"{self.url}/{name}", self._top
        return child

    @property
    def absolute_url(self) -> str:
        """See Store."""
        return str(self.root)

    def local_path(self) -> Path:
        """See Store."""
        return self.root

    def root_exists(self) -> bool:
        """See Store."""
        return self.root.exists()

    def problem_with_key(self, key: str) -> str | None:
        """See Store."""
        return problem_with(key)

    def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
        """See Store. Memory holds the names of one folder per level of depth."""
        self._refuse_links(self.root)
        self.check_readable()
        return walk(lambda prefix: self._folder(prefix, unlisted), unlisted=unlisted)

    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        """See Store."""
        if len(keys) == 1:
            return [self._fetch_one(keys[0], max_bytes)]
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(lambda key: self._fetch_one(key, max_bytes), keys))

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]], etag: str | None = None) -> Ranges | FetchFailed:
        """See Store."""
        try:
            with self._open_regular(self._path(key)) as file:
                before = os.fstat(file.fileno())
                parts = [os.pread(file.fileno(), size, start) for start, size in ranges]
                after = os.fstat(file.fileno())
        except StorageError as e:
            return FetchFailed(key, e.message)
        except OSError as e:
            return FetchFailed(key, e.strerror or type(e).__name__, refused=e.errno not in _VERDICTS)
        if _etag(before) != _etag(after) or etag not in (None, _etag(after)):
            return FetchFailed(key, CHANGED, transient=True)
        return Ranges(parts, after.st_size, _etag(after), after.st_mtime_ns)

    def put(self, key: str, data: bytes, modified_ns: int | None = None) -> None:
        """See Store: a temporary file in the same folder, flushed to disk, then renamed."""
        with self.open_output(key) as file:
            file.write(data)
            _set_time(file, modified_ns)

    def put_new(self, key: str, data: bytes, modified_ns: int | None = None) -> None:
        """See Store: a hard link from the temporary file, which fails where a file is already."""
        path = self._path(key)
        if not os.path.lexists(path):
            try:
                with self.open_output(key, new=True) as file:
                    file.write(data)
                    _set_time(file, modified_ns)
                return
            except Occupied:  # another writer was faster
                pass
        self.require_equal(key, data)

    def place(self) -> tuple[str, ...]:
        """See Store: without symbolic links and `..`."""
        return ("file", *Path(os.path.realpath(self.root)).parts)

    def open_input(self, key: str) -> BinaryIO:
        """See Store."""
        try:
            return self._open_regular(self._path(key))
        except OSError as e:
            raise StorageError(f"{self.url}/{key} cannot be read: {e.strerror}") from None

    @contextlib.contextmanager
    def open_output(self, key: str, *, new: bool = False) -> Iterator[BinaryIO]:
        """See Store: the file has a temporary name until the block ends."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.parent / temporary_name()
            file = temporary.open("xb")
        except OSError as e:
            raise cannot_write(f"{self.url}/{key}", e) from None
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            (_link if new else os.replace)(temporary, path)
        except OSError as e:
            temporary.unlink(missing_ok=True)
            if new and isinstance(e, FileExistsError):
                raise Occupied(f"{self.url}/{key} exists") from None
            raise cannot_write(f"{self.url}/{key}", e) from e
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)

    def delete(self, key: str) -> None:
        """See Store."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as e:
            raise StorageError(f"{self.url}/{key} cannot be removed: {e.strerror}") from None

    def delete_unchanged(self, key: str, etag: str) -> bool:
        """See Store. A file behind a link is not removed: it may have another key, too."""
        path = self._path(key)
        try:
            if (problem := self._problem_with_link(key)) is not None:
                raise StorageError(problem)
            if _etag(path.lstat()) != etag:
                return False
            path.unlink()
        except FileNotFoundError:
            return True
        except OSError as e:
            raise StorageError(f"{self.url}/{key} cannot be removed: {e.strerror}") from None
        return True

    def undeletable(self) -> Callable[[str], str | None]:
        """See Store."""
        linked = LinkedFiles(self.root, lambda prefix: self._folder(prefix, None))

        def problem(key: str) -> str | None:
            if (link := self._problem_with_link(key)) is not None or (other := linked.other_key(key)) is None:
                return link
            return (
                f"{self.url}/{key} is the file of {other!r}, too, through a link or a folder that is mounted twice: "
                "give each a file of its own"
            )

        return problem

    def _problem_with_link(self, key: str) -> str | None:
        path = self._path(key)
        if any(at.is_symlink() for at in (path, *path.parents) if at.is_relative_to(self.root) and at != self.root):
            return f"{self.url}/{key} is a link, or behind one: give it a file of its own"
        return None

    def may_hold_versions(self) -> bool:
        """See Store."""
        return False

    def exists(self, key: str) -> bool:
        """See Store."""
        try:
            return self._path(key).is_file()
        except StorageError:
            return False

    def unfinished(self) -> Iterator[Unfinished]:
        """See Store: files that still have their temporary name."""
        for folder, _, names in os.walk(self.root):
            for path in (Path(folder) / name for name in names if is_temporary(name)):
                with contextlib.suppress(FileNotFoundError):  # finished just now
                    facts = path.lstat()
                    if stat.S_ISREG(facts.st_mode):
                        name = path.relative_to(self.root).as_posix()
                        yield Unfinished(name, facts.st_mtime, name)

    def discard(self, unfinished: Unfinished) -> None:
        """See Store."""
        self.delete(unfinished.name)

    def check_plain(self, keys: Iterable[str]) -> None:
        """See Store."""
        for key in keys:
            with contextlib.suppress(FileNotFoundError):  # its reader will say so
                facts = self._path(key).stat()
                if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):
                    raise StorageError(f"{self.url}/{key} is not a regular file")

    def names_in(self, folder: str) -> list[str]:
        """See Store."""
        try:
            return [key_of(name) for name in os.listdir(self._path(folder))]
        except FileNotFoundError:
            return []

    def check_readable(self) -> None:
        """See Store."""
        if not self.root.exists():
            raise StorageError(f"{self.url} does not exist")
        if not self.root.is_dir():
            raise StorageError(f"{self.url} is not a folder")
        if not os.access(self.root, os.R_OK | os.X_OK):
            raise StorageError(f"{self.url} may not be read by this user")

    def check_writable(self) -> None:
        """See Store."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as e:
            raise cannot_write(self.url, e) from None

    def check_target(self) -> None:
        """See Store: looks at the folder, or at the nearest one above it that exists."""
        at = Path(os.path.abspath(self.root))
        there = next(path for path in (at, *at.parents) if os.path.lexists(path))
        if not there.is_dir():
            raise StorageError(f"{self.url} cannot be written: {there} is a file, not a folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise StorageError(f"{self.url} cannot be written: {there} may not be written by this user")

    def _folder(self, prefix: str, unlisted: NotListed | None) -> Iterable[Page]:
        files: list[Entry] = []
        folders: list[str] = []
        try:
            with os.scandir(self.root / path_of(prefix)) as items:
                for item in items:
                    key = prefix + key_of(item.name)
                    try:
                        facts = item.stat(follow_symlinks=self._links)
                    except OSError as e:
                        if _is_folder(item):  # it cannot be listed either, and its images are not gone
                            folders.append(key + "/")
                            continue
                        files.append(Entry(key, 0, "unreadable"))  # so that it becomes a rejection when it is fetched
                        if unlisted is not None and item.is_symlink():  # to a folder on a disk that is not mounted?
                            unlisted(key + "/", f"it is a link that cannot be followed: {e.strerror}")
                        continue
                    if stat.S_ISDIR(facts.st_mode):
                        if not (item.is_symlink() and self._leads_up(prefix, facts)):
                            folders.append(key + "/")
                    elif stat.S_ISREG(facts.st_mode):
                        files.append(Entry(key, facts.st_size, _etag(facts)))
        except OSError as e:
            # Skipping the folder would make its images look removed.
            raise Unlistable(f"the folder {self.url}/{prefix} cannot be listed: {e.strerror}") from None
        return [Page(files, folders)]

    def _leads_up(self, prefix: str, facts: os.stat_result) -> bool:
        folder = self.root / path_of(prefix)
        return any(os.path.samestat(facts, above.stat()) for above in (folder, *folder.parents))

    def _fetch_one(self, key: str, max_bytes: int | None) -> Fetched | FetchFailed:
        for _ in range(2):
            try:
                with self._open_regular(self._path(key)) as file:
                    before = os.fstat(file.fileno())
                    if reason := too_large(before.st_size, max_bytes):
                        return FetchFailed(key, reason)
                    data = file.read(before.st_size + 1)
                    after = os.fstat(file.fileno())
            except StorageError as e:
                return FetchFailed(key, e.message)
            except OSError as e:
                return FetchFailed(key, e.strerror or type(e).__name__, refused=e.errno not in _VERDICTS)
            if _etag(before) == _etag(after) and len(data) == after.st_size:
                return Fetched(key, data, _etag(after), after.st_mtime_ns)
        return FetchFailed(key, "the file changed while it was read", refused=True)

    def _path(self, key: str) -> Path:
        """The path of a key.

        Raises:
            StorageError: when it is not below the folder, or behind a link that is not followed.
        """
        path = self.root / path_of(check_key(key))
        self._refuse_links(path)
        return path

    def _refuse_links(self, path: Path) -> None:
        if self._links:
            return
        at = self._top
        for part in path.relative_to(self._top).parts:
            at /= part
            if at.is_symlink():
                raise StorageError(f"{at} is a link: links inside an archive are not followed")

    def _open_regular(self, path: Path) -> BinaryIO:
        # Without O_NONBLOCK, opening a pipe waits for its writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if self._links else os.O_NOFOLLOW))
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return os.fdopen(handle, "rb")
        os.close(handle)
        raise StorageError(f"{path} is not a regular file")


def _is_folder(item: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is one itself, as far as the folder tells."""
    try:
        return item.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _link(temporary: Path, path: Path) -> None:
    """Give a file its name, unless that is taken.

    Raises:
        FileExistsError: when it is.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: look, then rename
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        os.replace(temporary, path)
        return
    temporary.unlink()


def _set_time(file: BinaryIO, modified_ns: int | None) -> None:
    """Give an open file its time of last change; a file system that cannot hold it keeps its own."""
    if modified_ns is not None:
        file.flush()  # a later write would change the time again
        with contextlib.suppress(OSError, OverflowError):
            os.utime(file.fileno(), ns=(modified_ns, modified_ns))


def _etag(facts: os.stat_result) -> str:
    return f"{facts.st_size}-{facts.st_mtime_ns}"


def _sync_folder(folder: Path) -> None:
    """Flush a folder to disk: only then is a rename in it durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot do this
            os.fsync(handle)
    finally:
        os.close(handle)
