"""Errors of a disk as one line with the remedy: a full, read-only or failing disk is no object's fault."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.storage.base import StorageError, Unwritable

REMEDIES = {
    errno.ENOSPC: "free space there; the same command continues",
    errno.EDQUOT: "free space there; the same command continues",
    errno.EROFS: "mount it for writing; the same command continues",
    errno.EIO: "the disk fails: use another one",
    errno.EFBIG: "the limit on file sizes (`ulimit -f`) is too low",
}
"""What to do about errors that end a job, by number."""
TEMPORARY_REMEDY = "free space there, or set TMPDIR to a folder on another disk"
"""What to do about temporary folders."""
_SQLITE = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
}
"""SQLite's errors that say something of the disk, as those of the operating system."""


def cannot_write(what: str, error: OSError, remedy: str = "") -> StorageError:
    """The error for a file that cannot be written, `Unwritable` where no other file could be.

    Args:
        what: the file or folder, for the message.
        error: of the operating system.
        remedy: in place of the one in REMEDIES.
    """
    text = f"{what} cannot be written: {error.strerror or error}"
    if error.errno not in REMEDIES:
        return StorageError(f"{text} ({remedy})" if remedy else text)
    return Unwritable(f"{text} ({remedy or REMEDIES[error.errno]})")


@contextmanager
def sqlite_errors(what: str, remedy: str) -> Iterator[None]:
    """Errors of SQLite that say something of the disk, as those of `cannot_write`; others stay.

    Args:
        what: the file or folder that it writes, for the message.
        remedy: in place of the one in REMEDIES.
    """
    try:
        yield
    except sqlite3.OperationalError as e:
        number = _SQLITE.get(e.sqlite_errorcode & 0xFF)  # what is above says more of the same error
        if number is None:
            raise
        raise cannot_write(what, OSError(number, str(e)), remedy) from e


def fault_of_machine(error: OSError) -> str | None:
    """What a user can do about an error of the operating system that says nothing about any object; None if nothing.

    Args:
        error: of any call: the file that it names may be missing.
    """
    remedies = REMEDIES | {
        errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
        errno.ENFILE: "this machine has too many open files",
        errno.EACCES: "let this user read and write it, or choose another place",
        errno.EPERM: "let this user read and write it, or choose another place",
        errno.ENAMETOOLONG: "choose a shorter name",
        errno.EAGAIN: "raise the limit on processes (`ulimit -u`)",
        errno.ENOMEM: "use fewer workers, or a machine with more memory",
    }
    name = error.filename if isinstance(error.filename, str | bytes) else None
    if error.errno in remedies:
        return f"{_named(name)}{error.strerror}: {remedies[error.errno]}"
    text = str(error)
    if "No usable temporary directory" in text:
        return "no temporary folder can be written: set TMPDIR to one that can"
    if "AF_UNIX path" in text:
        return (
            f"the temporary folder {os.environ.get('TMPDIR') or '/tmp'} has too long a name for Ray's sockets: "
            "set TMPDIR to a shorter one"
        )
    return None


def _named(name: str | bytes | None) -> str:
    return "" if name is None else f"{os.fsdecode(name)}: "
