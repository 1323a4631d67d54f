"""Reading a container's headers by ranges, without reading what lies between them where that is large."""

import io
from typing import Any

from pipeline.storage.base import FetchFailed, Store

LEAST, MOST = 64 << 10, 8 << 20
"""Bytes read at once: few where members are large, and many where headers follow each other closely."""
_LOCAL = 4 << 10
"""On a disk a request costs little."""


class Unreadable(Exception):
    """A container cannot be read at the moment; `failed` says why."""

    def __init__(self, failed: FetchFailed) -> None:
        """Args: failed: the answer of the store."""
        super().__init__(failed.reason)
        self.failed = failed


class ContainerFile:
    """One version of a container; reads a block at a time.

    Attributes:
        size: in bytes.
        etag: of the version.
    """

    def __init__(self, store: Store, key: str, etag: str | None = None) -> None:
        """Look for the container.

        Args:
            store: holds it.
            key: its key.
            etag: of the version; None for the one that is there.

        Raises:
            Unreadable: when it is missing, another version, or the store does not answer.
        """
        self._store, self._key = store, key
        self._local = store.local_path() is not None
        self._start, self._block, self._ahead = 0, b"", _LOCAL if self._local else LEAST
        found = store.read_ranges(key, [], etag)
        if isinstance(found, FetchFailed):
            raise Unreadable(found)
        self.size, self.etag = found.size, found.etag

    def read(self, start: int, count: int) -> bytes:
        """Bytes from `start`; fewer than `count` where the file ends.

        Raises:
            Unreadable: when the store does not answer, or the container has changed.
        """
        end = min(self.size, start + count)
        if start >= end:
            return b""
        if not self._start <= start <= end <= self._start + len(self._block):
            self._load(start, end - start)
        return self._block[start - self._start : end - self._start]

    def _load(self, start: int, count: int) -> None:
        if not self._local:
            near = 0 <= start - (self._start + len(self._block)) <= self._ahead
            self._ahead = min(MOST, 4 * self._ahead) if near else LEAST
        count = min(self.size - start, max(count, self._ahead))
        found = self._store.read_ranges(self._key, [(start, count)], self.etag)
        if isinstance(found, FetchFailed):
            raise Unreadable(found)
        self._start, self._block = start, found.parts[0]


class FileReader(io.RawIOBase):
    """A container as a seekable file, for other readers."""

    def __init__(self, file: ContainerFile) -> None:
        """Args: file: the container."""
        self._file, self._at = file, 0

    def readable(self) -> bool:
        """See io."""
        return True

    def seekable(self) -> bool:
        """See io."""
        return True

    def tell(self) -> int:
        """See io."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See io."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """See io."""
        data = self._file.read(self._at, self._file.size - self._at if size < 0 else size)
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        """See io."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
