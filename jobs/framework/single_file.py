"""Reads and writes one file by path or URL, for the jobs that work on a single image."""

from pipeline.storage.base import Occupied, StorageError, Store
from pipeline.storage.open import open_store
from pipeline.storage.places import is_within, store_at


def read_file(url: str) -> bytes:
    """The bytes of one file or object.

    Raises:
        StorageError: one line, when it cannot be read.
    """
    store, name = _split(url)
    return store.get(name)


def write_file(url: str, data: bytes, *, overwrite: bool) -> None:
    """Write one file or object; a concurrent reader sees the old bytes or all of the new ones.

    Args:
        url: of the file.
        data: its bytes.
        overwrite: replace a file that differs.

    Raises:
        StorageError: one line, when it cannot be written, or another file is there and `overwrite` is not set.
    """
    store, name = _split(url)
    if overwrite:
        store.put(name, data)
        return
    try:
        store.put_new(name, data)
    except Occupied:
        raise StorageError(f"{url} is there already and differs: give another name, or --overwrite") from None


def require_two_files(read: str, written: str) -> None:
    """Refuse to write a file over the one that is read, and a folder in place of a file.

    Raises:
        StorageError: one line, when both are the same file, however they are spelled, or one of them is a folder by
            its name.
    """
    for url in (read, written):
        _split(url)
    if is_within(store_at(written), store_at(read)):
        raise StorageError(f"{written} is the file that is read: give another name")


def _split(url: str) -> tuple[Store, str]:
    """The store of the folder that a file is in, and the file's name."""
    folder, slash, name = url.rpartition("/")
    store = open_store(folder or ("/" if slash else "."))
    if url and name in ("", ".", ".."):
        raise StorageError(f"{url} is a folder: give the path of a file")
    return store, name
