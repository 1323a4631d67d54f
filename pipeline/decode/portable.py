"""Names that every common file system can hold: Linux, macOS, Windows.

What a part of a key may not be is percent-encoded, as in URLs: characters that Windows reserves,
control characters, a dot or space at the end, the names of devices (`CON`, `NUL`, `COM1` ...), `.`
and `..`, and empty parts (`a//b` becomes `a/%2F/b`). A `%` that two hex digits follow is encoded as
well, so that no two keys get the same name by this. A part that is too long is cut, and ends with a
hash of the whole part.
"""

import hashlib
import re

from pipeline.storage.keys import MAX_PART

_RESERVED = re.compile(r'[<>:"\\|?*\x00-\x1f\x7f]|%(?=[0-9A-Fa-f]{2})|[. ]$')
_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9\u00b9\u00b2\u00b3])[ ]*(\..*)?", re.I | re.S)
_LONGEST_SUFFIX = 16


def portable(name: str) -> str:
    """The name of a file, made of a key or of a key with a suffix."""
    return "/".join(map(_part, name.split("/")))


def marked(name: str, key: str) -> str:
    """The name with a hash of the key before its suffix: for keys whose names would be the same."""
    folder, slash, last = name.rpartition("/")
    stem, suffix = _split(last)
    return folder + slash + _fitting(stem, f"~{_hash(key)}", suffix)


def _part(part: str) -> str:
    if not part:
        return "%2F"
    if part in (".", ".."):
        return "%2E" * len(part)
    made = _RESERVED.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), part)
    if _DEVICE.fullmatch(made):
        made = f"%{ord(made[0]):02X}{made[1:]}"
    if len(_bytes(made)) > MAX_PART:
        stem, suffix = _split(made)
        made = _fitting(stem, f"~{_hash(part)}", suffix)
    return made


def _fitting(stem: str, mark: str, suffix: str) -> str:
    """Stem, mark and suffix, with the stem cut so that they are not too long, between two characters."""
    room = MAX_PART - len(_bytes(mark + suffix))
    cut = _bytes(stem)[:room].decode("utf-8", "ignore") if len(_bytes(stem)) > room else stem
    return re.sub(r"%[0-9A-F]?$", "", cut) + mark + suffix


def _split(name: str) -> tuple[str, str]:
    """Stem and suffix; a suffix is short."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem and len(_bytes(suffix)) < _LONGEST_SUFFIX else (name, "")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _hash(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()[:16]
