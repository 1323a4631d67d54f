"""Checks of object keys that become file names: never outside the destination, never too long.

S3 accepts any UTF-8 string of up to 1,024 bytes as a key, so `../../etc/passwd`, `/etc/passwd`,
`a//b` and `.` are all possible, and other stores allow longer keys.
"""

from pipeline.storage.base import StorageError
from pipeline.storage.local_names import key_of, path_of

MAX_PART = 255
"""Longest file name, in bytes, on common file systems."""


def problem_with(key: str) -> str | None:
    """Why a key cannot be a path below a folder, as the end of a sentence; None when it can."""
    if not key:
        return "it is empty"
    if key.startswith("/"):
        return "it is absolute"
    if "\0" in key:
        return "it contains a NUL character"
    parts = key.split("/")
    if ".." in parts:
        return "it leads out of the folder"
    if "." in parts or "" in parts:
        return "it has an empty part"
    if "\ufffd" in key and any(0xD800 <= ord(char) < 0xE000 for char in key):
        return "it is no text"
    path = path_of(key)
    if path != key:
        name = path.encode("utf-8", "surrogateescape")
        if key_of(name.decode("utf-8", "surrogateescape")) != key:
            return "it is not the key of the file name that it describes"
    else:
        name = key.encode("utf-8", "surrogatepass")
    if any(len(part) > MAX_PART for part in name.split(b"/")):
        return f"a part of it is longer than {MAX_PART} bytes"
    return None


def leads_out(key: str) -> str | None:
    """Why a key cannot be a path below any folder-like root, as `problem_with`; None when it can.

    Milder than `problem_with`: object stores may hold keys with empty parts and of any length.
    """
    if key.startswith("/"):
        return "it is absolute"
    if "\0" in key:
        return "it contains a NUL character"
    return "it leads out of the folder" if ".." in key.split("/") else None


def check_inside(key: str, url: str) -> str:
    """The key, unchanged.

    Raises:
        StorageError: when it leads out of the store at `url`.
    """
    if problem := leads_out(key):
        raise StorageError(f"the key {key[:80]!r} cannot be in {url}: {problem}")
    return key


def check_key(key: str) -> str:
    """The key, unchanged.

    Raises:
        StorageError: when it cannot be a path below a folder.
    """
    problem = problem_with(key)
    if problem:
        raise StorageError(f"the key {key[:80]!r} cannot be a file here: {problem}")
    return key
