"""The members of a zip, from its central directory; zip64 included.

The directory is read strictly, and each member that cannot be read gets a verdict of its own:
encrypted ones, methods that few use, and members that lie in each other's bytes, with which a small
file claims any number of large members.
"""

import struct
import zlib
from dataclasses import dataclass

from pipeline.sources.members.container_file import ContainerFile
from pipeline.sources.members.member_index import Builder, Member, TooManyMembers, member_key
from pipeline.storage.base import FetchFailed, Store

MAX_DIRECTORY = 1 << 30
_END, _END64, _LOCATOR64, _CENTRAL, _LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
_STORED, _DEFLATED = 0, 8
_SLACK = 512
"""Bytes by which a local header may be longer than the central one, before a second request is needed."""
_FULL = 0xFFFFFFFF
_MOST_INFLATED = 1032
"""Bytes that deflate makes of one at most."""
_SPARE = 64 << 10
"""Packed bytes that a member may have beyond twice its own: they are read before it shows what they hold."""


def is_zip(head: bytes) -> bool:
    """Whether a file begins as a zip does. Args: head: its first bytes."""
    return head[:4] in (_LOCAL, _END)


def build(file: ContainerFile, add: Builder) -> str | None:
    """Add the members of a zip; see `pipeline.sources.members.tar_index.build`."""
    try:
        _add_all(file, add)
    except TooManyMembers:
        return "it has too many members"
    except _Damaged as e:
        return str(e)
    return None


def read(store: Store, key: str, etag: str, members: list[Member]) -> list[bytes | FetchFailed] | FetchFailed:
    """The unpacked bytes of members. Args: store, key, etag: of the zip. members: of its index."""
    places = [tuple(map(int, member.place.split())) for member in members]
    found = store.read_ranges(key, [(start, 30 + names + _SLACK + packed) for start, packed, names, *_ in places], etag)
    if isinstance(found, FetchFailed):
        return found
    results: list[bytes | FetchFailed] = []
    for member, (start, packed, _, method, crc), part in zip(members, places, found.parts, strict=True):
        skip = 30 + sum(struct.unpack_from("<HH", part, 26)) if len(part) >= 30 else 0
        if not part.startswith(_LOCAL) or not skip:
            results.append(FetchFailed(key, "the zip has no such member at its place"))
            continue
        body = part[skip : skip + packed]
        if len(body) < packed:
            again = store.read_ranges(key, [(start + skip, packed)], etag)
            if isinstance(again, FetchFailed):
                return again
            body = again.parts[0]
        results.append(_unpacked(key, body, method, member.size, crc))
    return results


def _unpacked(key: str, body: bytes, method: int, size: int, crc: int) -> bytes | FetchFailed:
    """The member's bytes, if they are what the directory says; never more than that."""
    data = body
    if method == _DEFLATED:
        inflate = zlib.decompressobj(-15)
        try:
            data = inflate.decompress(body, size + 1)  # a byte more, to notice that there is more
        except zlib.error:
            return FetchFailed(key, "the member is damaged: it cannot be unpacked")
    if len(data) != size or zlib.crc32(data) != crc:
        return FetchFailed(key, "the member is damaged: it is not what the zip's directory says")
    return data


class _Damaged(Exception):
    """The directory cannot be read on; the text says why."""


@dataclass(frozen=True, slots=True)
class _Directory:
    start: int
    size: int


def _directory(file: ContainerFile) -> _Directory:
    tail_at = max(0, file.size - 65_557)  # the end record and the longest comment
    tail = file.read(tail_at, file.size - tail_at)
    at = tail.rfind(_END)
    while at >= 0 and (len(tail) - at < 22 or struct.unpack_from("<H", tail, at + 20)[0] != len(tail) - at - 22):
        at = tail.rfind(_END, 0, at)
    if at < 0:
        raise _Damaged("it has no directory: it is cut short")
    disk, _, _, _, size, start = struct.unpack_from("<HHHHII", tail, at + 4)
    end = tail_at + at
    locator = file.read(end - 20, 20) if end >= 20 else b""
    if locator.startswith(_LOCATOR64):
        (place,) = struct.unpack_from("<Q", locator, 8)
        record = file.read(place, 56)
        if len(record) < 56 or not record.startswith(_END64):
            raise _Damaged("its zip64 directory is damaged")
        size, start = struct.unpack_from("<QQ", record, 40)
        end = place
    if disk not in (0, 0xFFFF):
        raise _Damaged("it is one of several parts")
    if end != start + size or size > MAX_DIRECTORY:  # also where something was put in front of it
        raise _Damaged("its directory is damaged")
    return _Directory(start, size)


def _add_all(file: ContainerFile, add: Builder) -> None:
    where = _directory(file)
    at, end = where.start, where.start + where.size
    lies: list[tuple[int, int]] = []
    members: list[tuple[Member, int, int]] = []
    while at < end:
        head = file.read(at, 46)
        if len(head) < 46 or not head.startswith(_CENTRAL):
            _finish(members, lies, add)
            raise _Damaged(f"its directory is damaged at byte {at:,}")
        names, extras, comment = struct.unpack_from("<HHH", head, 28)
        text = file.read(at + 46, names + extras)
        member, start, packed = _member(head, text[:names], text[names:], file.size)
        at += 46 + names + extras + comment
        if member.size or not text[:names].endswith(b"/"):  # a folder; one with bytes gets a verdict
            members.append((member, start, packed))
            lies.append((start, start + 30 + names + packed))
        if len(members) > 1_000_000:
            raise TooManyMembers
    _finish(members, lies, add)


def _finish(members: list[tuple[Member, int, int]], lies: list[tuple[int, int]], add: Builder) -> None:
    """Add the members; those that lie in each other's bytes get a problem."""
    furthest, overlapping, last = 0, set[int](), -1
    for number in sorted(range(len(lies)), key=lies.__getitem__):
        start, end = lies[number]
        if start < furthest:
            overlapping |= {number, last}
        if end > furthest:
            furthest, last = end, number
    for number, (member, _, _) in enumerate(members):
        if number in overlapping and member.problem is None:
            member = Member(member.key, member.size, problem="it lies in the bytes of another member", etag=member.etag)
        add.add(member)


def _member(head: bytes, name: bytes, extra: bytes, file_size: int) -> tuple[Member, int, int]:
    """A member, its first byte in the file and its packed bytes."""
    flags, method, _, _, crc, packed, size = struct.unpack_from("<HHHHIII", head, 8)
    (start,) = struct.unpack_from("<I", head, 42)
    modified, problem = None, None
    at = 0
    while at + 4 <= len(extra):
        tag, count = struct.unpack_from("<HH", extra, at)
        body = extra[at + 4 : at + 4 + count]
        at += 4 + count
        if tag == 1:  # zip64: those of the numbers that do not fit, in this order
            numbers = iter(struct.unpack_from(f"<{len(body) // 8}Q", body))
            size = next(numbers, size) if size == _FULL else size
            packed = next(numbers, packed) if packed == _FULL else packed
            start = next(numbers, start) if start == _FULL else start
        elif tag == 0x5455 and len(body) >= 5 and body[0] & 1:
            modified = struct.unpack_from("<i", body, 1)[0] * 10**9
    if flags & 1 or flags & 0x40:
        problem = "it is encrypted"
    elif method not in (_STORED, _DEFLATED):
        problem = f"it is packed by method {method}, which is not read here (deflate and none are)"
    elif start + packed > file_size or (size != packed if method == _STORED else size > _MOST_INFLATED * packed):
        problem = "the zip's directory does not fit the file"
    elif packed > 2 * size + _SPARE:
        problem = "it is packed into far more bytes than it has"
    mode = struct.unpack_from("<I", head, 38)[0] >> 16
    if head[5] == 3 and mode & 0xF000 == 0xA000:  # made on Unix
        problem = "it is a symbolic link"
    place = "" if problem else f"{start} {packed} {len(name)} {method} {crc}"
    return Member(_key(name, flags), size, place, problem, f"{size}-{crc:08x}", modified), start, packed


def _key(name: bytes, flags: int) -> str:
    """A member's key: UTF-8 where the zip says so, or where it is; else the code page of DOS, as in the standard."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        text = name.decode("utf-8", "surrogateescape") if flags & 0x800 else name.decode("cp437")
    return member_key(text)
