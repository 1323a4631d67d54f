"""TIFF as a structure: header, directories of tags, and which bytes of the file they account for."""

import struct
from dataclasses import dataclass, field

from pipeline.containers.contents import Unexpected
from pipeline.containers.tiff.tags import POINTER, TYPE_BYTES

MAX_ENTRIES = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """A tag's type and raw value, in the file's byte order."""

    tag: int
    kind: int
    data: bytes


@dataclass(slots=True)
class TiffFile:
    """A file's bytes and what has been read of it.

    Attributes:
        source: the file.
        order: "<" or ">".
        ranges: (start, end) of the bytes that are accounted for.
    """

    source: bytes
    order: str
    ranges: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, source: bytes) -> "TiffFile":
        """The file of these bytes.

        Raises:
            Unexpected: for anything but classic TIFF.
        """
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(source[:4])
        if order is None:
            raise Unexpected("container: a TIFF of another kind, such as BigTIFF")
        return cls(source, order, [(0, 8)])

    def numbers(self, entry: Entry | None) -> tuple[int, ...]:
        """A tag's values as integers; none when it is absent.

        Raises:
            Unexpected: when it is of another type.
        """
        if entry is None:
            return ()
        code = {1: "B", 3: "H", 4: "I", POINTER: "I"}.get(entry.kind)
        if code is None:
            raise Unexpected("container: a tag of an unexpected type")
        return struct.unpack(f"{self.order}{len(entry.data) // TYPE_BYTES[entry.kind]}{code}", entry.data)

    def directory(self, at: int) -> tuple[dict[int, Entry], int]:
        """The tags of the directory at this place, and the place of the next one, or 0.

        Raises:
            Unexpected: when it is damaged, or a tag is given twice.
        """
        (count,) = self._unpack("H", at)
        if not 0 < count <= MAX_ENTRIES:
            raise Unexpected("container: an impossible number of tags")
        found = dict[int, Entry]()
        for i in range(count):
            tag, kind, values = self._unpack("HHI", at + 2 + 12 * i)
            place, size = at + 2 + 12 * i + 8, values * TYPE_BYTES.get(kind, 0)
            if not size or tag in found:
                raise Unexpected("container: a tag without value, of an unknown type, or given twice")
            if size > 4:
                (place,) = self._unpack("I", place)
            found[tag] = Entry(tag, kind, self.range(place, size))
        (following,) = self._unpack("I", at + 2 + 12 * count)
        self.ranges.append((at, at + 6 + 12 * count))
        return found, following

    def range(self, at: int, size: int) -> bytes:
        """Bytes of the file, which then are accounted for.

        Raises:
            Unexpected: when the file ends first.
        """
        data = self.source[at : at + size]
        if len(data) != size:
            raise Unexpected("container: cut short")
        self.ranges.append((at, at + size))
        return data

    def first(self) -> int:
        """The place of the first directory."""
        return int(self._unpack("I", 4)[0])

    def unaccounted(self) -> bytes:
        """The bytes that nothing read so far refers to, without zeros at the ends of gaps."""
        gaps, at = bytearray(), 0
        for start, end in [*sorted(self.ranges), (len(self.source), len(self.source))]:
            if start > at:
                gaps += self.source[at:start].strip(b"\0")
            at = max(at, end)
        return bytes(gaps)

    def _unpack(self, form: str, at: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self.order + form, self.source, at)
        except struct.error:
            raise Unexpected("container: cut short") from None


def pack_directory(entries: list[Entry], at: int, order: str) -> bytes:
    """A directory and its values as they are in a file, at this (even) place.

    Raises:
        ValueError: when there are too many tags, or the file would pass 4 GiB.
    """
    entries = sorted(entries, key=lambda entry: entry.tag)
    out = bytearray(struct.pack(order + "H", len(entries)))
    values, place = bytearray(), at + 6 + 12 * len(entries)
    try:
        for entry in entries:
            count = len(entry.data) // TYPE_BYTES[entry.kind]
            out += struct.pack(order + "HHI", entry.tag, entry.kind, count)
            if len(entry.data) <= 4:
                out += entry.data.ljust(4, b"\0")
                continue
            out += struct.pack(order + "I", place + len(values))
            values += entry.data + bytes(len(entry.data) & 1)
    except (struct.error, KeyError):
        raise ValueError("the skeleton has tags that no TIFF can hold") from None
    return bytes(out) + bytes(4) + bytes(values)
