"""Large blobs as files: a reader that fetches ranges, and a writer of blocks that are committed together."""

import io
from collections.abc import Callable
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from pipeline.storage.azure.azure_errors import ERRORS, explain
from pipeline.storage.base import CHANGED, Occupied, StorageError

BLOCK_BYTES = 8 << 20
"""Size of a block. What is smaller is written by one request, which can also be refused where the key is taken."""


class BlobReader(io.RawIOBase):
    """A seekable reader of one version of a blob."""

    def __init__(self, store: Any, path: str, url: str) -> None:
        """Args: store: obstore's; path: of the blob in its container; url: for messages.

        Raises:
            StorageError: when there is no such blob.
        """
        self._store, self._path, self._url = store, path, url
        try:
            about = obstore.head(store, path)
        except ERRORS as e:
            raise explain(e, url) from e
        self._size, self._etag, self._at = about["size"], about["e_tag"], 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of any file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a file has no bytes before its first")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """As of any file."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fetch the next bytes.

        Raises:
            StorageError: when they cannot be read, or the blob is another one by now.
        """
        end = min(self._size, self._at + len(buffer))
        if end <= self._at:
            return 0
        try:
            wanted = {"range": (self._at, end), "if_match": self._etag}
            data = memoryview(obstore.get(self._store, self._path, options=wanted).bytes())  # type: ignore[arg-type]
        except PreconditionError as e:
            raise StorageError(f"{self._url} cannot be read: {CHANGED}") from e
        except ERRORS as e:
            raise explain(e, self._url) from e
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class BlobWriter(io.RawIOBase):
    """Collects a blob, which appears by `finish` and not before."""

    def __init__(self, store: Any, path: str, url: str) -> None:
        """Args: store: obstore's; path: of the blob in its container; url: for messages."""
        self._store, self._path, self._url = store, path, url
        self._held = bytearray()
        self._blocks: Any = None
        self._count = 0

    def writable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The number of bytes written."""
        return self._count

    def write(self, data: Any) -> int:
        """Take bytes; sends blocks when they are full.

        Raises:
            StorageError: when a block cannot be sent.
        """
        size = memoryview(data).nbytes
        self._count += size
        if self._blocks is None:
            self._held += data
            if len(self._held) <= BLOCK_BYTES:
                return size
            data, self._held = self._held, bytearray()
        try:
            if self._blocks is None:
                self._blocks = obstore.open_writer(self._store, self._path, buffer_size=BLOCK_BYTES)
            self._blocks.write(bytes(data))
        except ERRORS as e:
            raise explain(e, self._url) from e
        return size

    def finish(self, check: Callable[[], None] | None = None) -> None:
        """Make the blob appear.

        Args:
            check: for a key that must be free, looks for a blob there; called directly before blocks are committed.
                What one request writes is decided by Azure itself.

        Raises:
            Occupied: when it must be new, and the key is taken.
            StorageError: when it cannot be written.
        """
        try:
            if self._blocks is None:
                mode: Any = "create" if check else "overwrite"
                obstore.put(self._store, self._path, bytes(self._held), mode=mode, use_multipart=False)
                return
            if check:
                check()
            self._blocks.close()
        except (AlreadyExistsError, PreconditionError) as e:
            raise Occupied(f"{self._url} exists") from e
        except ERRORS as e:
            raise explain(e, self._url) from e
