"""Copying objects between stores, with the digest that they must have."""

import hashlib

from pipeline.storage.base import StorageError, Store

_BLOCK = 4 << 20


def copy_object(source: Store, dest: Store, key: str, size: int, sha256: str | None) -> None:
    """Copy one object under its key, which has the old bytes or all the right ones, never a part or others.

    Args:
        source: to read from.
        dest: to write to; an object that is there is replaced.
        key: of the object in both.
        size: bytes that it must have.
        sha256: that it must have, 64 hex digits; None where nobody knows it.

    Raises:
        StorageError: when it cannot be read or written, or is not what it should be; then `dest` is
            as before.
    """
    with source.open_input(key) as file, dest.open_output(key) as out:
        digest, count = hashlib.sha256(), 0
        while block := file.read(_BLOCK):
            digest.update(block)
            count += len(block)
            out.write(block)
        if count != size:
            raise StorageError(f"{source.url}/{key} has {count} bytes, not {size}: it is damaged")
        if sha256 is not None and digest.hexdigest() != sha256:
            raise StorageError(f"{source.url}/{key} is damaged: its SHA-256 is not the one in the log")
