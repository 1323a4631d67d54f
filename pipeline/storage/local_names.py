r"""Keys of files whose names are not UTF-8, as those from Latin-1 systems are.

Keys are texts in UTF-8: tables, logs and other stores hold nothing else. On Linux a file name is any
bytes. A byte that is not part of UTF-8 becomes U+FFFD and two hexadecimal digits:

    b"caf\xe9.jpg"      caf\ufffdE9.jpg        (shown as caf, a question mark in a diamond, E9.jpg)

Each name has one key and each key one name, so that a file comes back on a local disk under the very
bytes of its name. In an object store the key is written as it is. A name that holds U+FFFD before
two such digits itself has that character's three bytes described in the same way.
"""

import re

_MARK = "\ufffd"
_DESCRIBED = re.compile(f"{_MARK}([89A-F][0-9A-F])")
_NOT_UTF8 = re.compile(f"[\udc80-\udcff]|{_MARK}(?=[89A-F][0-9A-F])")


def key_of(name: str) -> str:
    """The key of a name or path, as Python gives it: bytes that are not UTF-8 as surrogates."""
    return name if name.isascii() else _NOT_UTF8.sub(_describe, name)


def path_of(key: str) -> str:
    """The name or path of a key, for Python's functions of files: the inverse of `key_of`."""
    return _DESCRIBED.sub(lambda found: chr(0xDC00 + int(found[1], 16)), key) if _MARK in key else key


def _describe(found: re.Match[str]) -> str:
    return "".join(f"{_MARK}{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape"))
