"""Reads and writes one file by path or URL, for the jobs that work on a single image."""

from pipeline.storage.base import Store
from pipeline.storage.open import open_store


def read_file(url: str) -> bytes:
    """The bytes of one file or object.

    Raises:
        StorageError: one line, when it cannot be read.
    """
    store, name = _split(url)
    return store.get(name)


def write_file(url: str, data: bytes) -> None:
    """Write one file or object; a concurrent reader sees the old bytes or all of the new ones.

    Raises:
        StorageError: one line, when it cannot be written.
    """
    store, name = _split(url)
    store.put(name, data)


def _split(url: str) -> tuple[Store, str]:
    """The store of the folder that a file is in, and the file's name."""
    folder, slash, name = url.rpartition("/")
    return open_store(folder or ("/" if slash else ".")), name
