"""A local cache of whole files of a store that never change, such as shards, with a limit in bytes.

Several processes share a folder: a file appears whole, under a name that holds its SHA-256, so damage is noticed when a
process first opens it, and it is fetched again. What was used least recently goes first. A file that is removed while
others read it stays readable for them.
"""

import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from model.core.errors import MaepressError
from pipeline.storage.base import StorageError, Store, Unwritable, too_large
from pipeline.storage.cache_folder import remove_least_recently_used

_UNFINISHED, _ENTRY = ".fetching", ".file"
_ABANDONED_SECONDS = 3600.0
_LOCKS = 64
_BLOCK = 1 << 20


class FileCache:
    """Opens files of one store, from a folder if they are there.

    Attributes:
        url: of the store.
    """

    def __init__(self, store: Store, folder: str | Path, most_bytes: int) -> None:
        """Make the folder.

        Args:
            store: the files' store.
            folder: local; other stores and processes may share it, with the same limit.
            most_bytes: of all files in the folder; for moments, each process may exceed it by one file.

        Raises:
            MaepressError: when the limit is not positive.
            Unwritable: when the folder cannot be made or written.
        """
        if most_bytes <= 0:
            raise MaepressError(f"a cache of {most_bytes} bytes holds nothing: give a limit above 0")
        self.url = store.url
        self._store, self._folder, self._most = store, Path(folder), most_bytes
        self._sound: set[tuple[str, int, int]] = set()
        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)

    def open_input(self, key: str) -> BinaryIO:
        """The file, seekable: from the folder, into which it is fetched if it is not there and not too large.

        Raises:
            StorageError: when the store cannot be read.
            Unwritable: when the folder cannot be written.
        """
        name = hashlib.sha256(f"{self._store.absolute_url}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
        found = self._opened(name)
        if found is not None:
            return found
        with self._locked(f"lock-{int(name[:4], 16) % _LOCKS}"):  # one process fetches, and the others wait for it
            found = self._opened(name)
            return self._fetched(name, key) if found is None else found

    def get(self, key: str, max_bytes: int | None = None) -> bytes:
        """The bytes of a file that is not larger than `max_bytes`.

        Raises:
            StorageError: when the store cannot be read, or the file is larger.
            Unwritable: when the folder cannot be written.
        """
        with self.open_input(key) as file:
            size = file.seek(0, os.SEEK_END)
            if reason := too_large(size, max_bytes):
                raise StorageError(f"{self.url}/{key} cannot be read: {reason}")
            file.seek(0)
            return file.read()

    def _opened(self, name: str) -> BinaryIO | None:
        """A sound file of that name; a damaged one is removed."""
        for path in self._folder.glob(f"{name}-*{_ENTRY}"):
            try:
                file = path.open("rb")
            except FileNotFoundError:  # removed in this moment
                continue
            facts = os.fstat(file.fileno())
            seen = (path.name, facts.st_ino, facts.st_size)
            if seen in self._sound or _sha256(file) == path.name[len(name) + 1 : -len(_ENTRY)]:
                self._sound.add(seen)
                with self._writing(missing_ok=True):
                    os.utime(path)  # it was used now
                return file
            file.close()
            with self._writing():
                path.unlink(missing_ok=True)
        return None

    def _fetched(self, name: str, key: str) -> BinaryIO:
        source = self._store.open_input(key)
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
        if size > self._most:
            return source
        with source, self._writing():
            self._make_room(size)
            unfinished = self._folder / f"{uuid.uuid4().hex}{_UNFINISHED}"
            try:
                with unfinished.open("wb") as file:
                    shutil.copyfileobj(source, file, _BLOCK)
                if unfinished.stat().st_size != size:
                    raise StorageError(f"{self.url}/{key} changed while it was read")
                with unfinished.open("rb") as file:
                    path = self._folder / f"{name}-{_sha256(file)}{_ENTRY}"
                opened = unfinished.open("rb")
                unfinished.rename(path)
            finally:
                unfinished.unlink(missing_ok=True)
        return opened

    def _make_room(self, size: int) -> None:
        """Remove files, those that were used least recently first, until one of this size fits."""
        with self._locked("lock"):
            for path in self._folder.glob(f"*{_UNFINISHED}"):
                with suppress(FileNotFoundError):
                    facts = path.stat()
                    if time.time() - facts.st_mtime > _ABANDONED_SECONDS:
                        path.unlink()
                    else:
                        size += facts.st_size
            remove_least_recently_used(self._folder.glob(f"*{_ENTRY}"), self._most - size)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with self._writing(), (self._folder / name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _writing(self, *, missing_ok: bool = False) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            if missing_ok and isinstance(e, FileNotFoundError):
                return
            raise Unwritable(f"the cache {self._folder} cannot be written: {e.strerror or e}") from e


def _sha256(file: BinaryIO) -> str:
    """Of the rest of a file, which is rewound."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    file.seek(0)
    return digest.hexdigest()
