"""The members of a tar: every format that Python, GNU and BSD tar write, read strictly.

Headers are read by ranges, and members that cannot be images (links, devices, sparse files) get one
verdict each. What is damaged ends the index there: the members before it are intact.
"""

import tarfile

from pipeline.sources.members.container_file import ContainerFile
from pipeline.sources.members.member_index import Builder, Member, TooManyMembers, member_key
from pipeline.storage.base import FetchFailed, Store

BLOCK = 512
MAX_HEADER = 1 << 20
"""Largest long name, and largest set of pax records: in bytes."""
_ZEROS = bytes(BLOCK)
_RECORD, _LARGEST_RECORD = 20 * BLOCK, 1 << 20
"""What writers fill up with zeros: mostly records of 10 KiB, for tapes larger powers of two."""
_FILES, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"0\0007", b"L", b"K", b"x", b"g"
_NO_FILES = {b"2": "it is a symbolic link", b"3": "it is a device", b"4": "it is a device", b"6": "it is a pipe"}


def is_tar(head: bytes) -> bool:
    """Whether a file begins with the header of a tar, or is an empty one. Args: head: its first 512 bytes."""
    if head == _ZEROS:
        return True
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def build(file: ContainerFile, add: Builder) -> str | None:
    """Add the members of a tar.

    Args:
        file: the tar.
        add: takes them.

    Returns:
        Why it could not be read to its end, in a few words, or None.
    """
    try:
        return _Reader(file, add).read()
    except TooManyMembers:
        return "it has too many members"
    except _Damaged as e:
        return str(e)


def read(store: Store, key: str, etag: str, members: list[Member]) -> list[bytes | FetchFailed] | FetchFailed:
    """The bytes of members. Args: store, key, etag: of the tar. members: of its index."""
    found = store.read_ranges(key, [(int(member.place), member.size) for member in members], etag)
    if isinstance(found, FetchFailed):
        return found
    short = FetchFailed(key, "the tar is cut short")
    return [part if len(part) == m.size else short for part, m in zip(found.parts, members, strict=True)]


class _Damaged(Exception):
    """The tar cannot be read on; the text says why."""


class _Reader:
    """Walks from header to header."""

    def __init__(self, file: ContainerFile, add: Builder) -> None:
        self._file, self._add = file, add
        self._name: str | None = None
        self._pax: dict[str, str] = {}
        self._global: dict[str, str] = {}

    def read(self) -> str | None:
        """Read all headers."""
        at = 0
        while True:
            head = self._file.read(at, BLOCK)
            if head == _ZEROS:
                return self._end(at)
            if not head:
                return "it has no end mark: it may be cut short"
            try:
                found = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                raise _Damaged(f"there is no header at byte {at:,}") from None
            at = self._one(found, at + BLOCK)

    def _one(self, found: tarfile.TarInfo, at: int) -> int:
        """Take one header; `at` is the first byte behind it. Returns where the next one is."""
        if found.size < 0:
            raise _Damaged(f"a member has a negative size at byte {at - BLOCK:,}")
        if found.type in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
            if found.size > MAX_HEADER:
                raise _Damaged(f"a header at byte {at - BLOCK:,} claims {found.size:,} bytes")
            text = self._file.read(at, found.size)
            if len(text) < found.size:
                raise _Damaged("it is cut short")
            if found.type == _LONG_NAME:
                self._name = text.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            elif found.type == _PAX:
                self._pax = _records(text)
            elif found.type == _PAX_GLOBAL:
                self._global |= _records(text)
            return at + _padded(found.size)
        pax, name = self._global | self._pax, self._name
        self._name, self._pax = None, {}
        size = _number(pax["size"]) if "size" in pax else found.size
        key = member_key(pax.get("path") or name or found.name)
        is_link = found.type in (b"1", b"2")
        end = at + (0 if is_link else _padded(size))
        marks_folder = found.type in _PLAIN and key.endswith("/") and not size  # as old writers do
        if found.type != b"5" and not marks_folder:
            self._member(found, key, size, at, pax)
        if end > self._file.size and at + size > self._file.size:
            raise _Damaged(f"it is cut short in its member {key[:80]!r}")
        return end

    def _member(self, found: tarfile.TarInfo, key: str, size: int, at: int, pax: dict[str, str]) -> None:
        modified = _nanoseconds(pax.get("mtime")) if "mtime" in pax else int(found.mtime) * 10**9
        if found.type == b"1":
            target = self._add.find(member_key(pax.get("linkpath") or found.linkname))
            if target is None or target.problem is not None:
                self._add.add(Member(key, 0, problem="it is a link to what is not in the tar before it"))
            else:
                self._add.add(Member(key, target.size, target.place, modified_ns=modified))
        elif found.type == b"S" or any(name.startswith("GNU.sparse.") for name in pax):
            self._add.add(Member(member_key(pax.get("GNU.sparse.name", key)), size, problem="it is a sparse file"))
        elif found.type not in _PLAIN:
            kind = found.type.decode("ascii", "replace")
            self._add.add(Member(key, size, problem=_NO_FILES.get(found.type, f"it is of an unknown kind ({kind!r})")))
        elif at + size > self._file.size:
            self._add.add(Member(key, size, problem="the tar is cut short in it"))
        else:
            self._add.add(Member(key, size, str(at), modified_ns=modified))

    def _end(self, at: int) -> str | None:
        """Check that only zeros follow, and no more of them than fill a record: a copy may have reserved its place."""
        rest = self._file.size - at
        if rest > _LARGEST_RECORD + BLOCK or self._file.read(at, rest).strip(b"\0"):
            return f"it goes on behind its end mark at byte {at:,}"
        record = 1 << max(0, rest - BLOCK - 1).bit_length()  # the mark's second block may begin another record
        if rest <= _RECORD + BLOCK or self._file.size % record == 0:
            return None
        return f"it holds nothing but zeros from byte {at:,} on: it may not be copied to its end"


_PLAIN = (b"0", b"\0", b"7")


def _records(text: bytes) -> dict[str, str]:
    """Pax records: length, space, name, equals sign, value and line feed each.

    Raises:
        _Damaged: when they are none.
    """
    found: dict[str, str] = {}
    at = 0
    while at < len(text) and text[at] != 0:
        digits, space, _ = text[at : at + 20].partition(b" ")
        if not (space and digits.isdigit()):
            raise _Damaged("its pax records are damaged")
        record = text[at + len(digits) + 1 : at + int(digits)]
        name, equals, value = record.partition(b"=")
        if int(digits) <= len(digits) + 1 or not equals or not value.endswith(b"\n"):
            raise _Damaged("its pax records are damaged")
        found[name.decode("utf-8", "surrogateescape")] = value[:-1].decode("utf-8", "surrogateescape")
        at += int(digits)
    return found


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _Damaged("its pax records are damaged")
    return int(text)


def _nanoseconds(text: str | None) -> int | None:
    """A time in seconds, as pax writes it, in nanoseconds; None for what is none."""
    whole, _, part = (text or "").partition(".")
    digits = whole.removeprefix("-")
    numeric = all(some.isascii() and some.isdigit() for some in (digits, part or "0"))
    if not numeric or len(digits) > 10:
        return None
    size = int(digits) * 10**9 + int(part[:9].ljust(9, "0") if part else 0)
    return -size if whole.startswith("-") else size


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
