"""A skeleton as bytes, for a column of the archive, and back.

    version u8 | form u8 | behind: length varint, bytes | number of parts before, after: varints
    each part: length of name u8 | name | pieces | 0
    each piece: varint 4 length + kind (0 literal, else a `Column`) | its bytes, or its start as a varint

Varints are LEB128. The column is compressed by its file (zstd), so nothing here is.
"""

from pipeline.containers.contents import Column, Copy, Part, Piece, Skeleton

_VERSION = 1
_FORMS = ("png", "jpeg", "webp", "tiff")
"""In the order of their numbers, which do not change."""


def pack(skeleton: Skeleton) -> bytes:
    """The bytes of a skeleton; equal skeletons have equal bytes."""
    out = bytearray([_VERSION, _FORMS.index(skeleton.form)])
    out += _varint(len(skeleton.behind)) + skeleton.behind
    out += _varint(len(skeleton.before)) + _varint(len(skeleton.after))
    for part in (*skeleton.before, *skeleton.after):
        out += bytes([len(part.name)]) + part.name
        for piece in part.pieces:
            if isinstance(piece, bytes):
                out += _varint(len(piece) << 2) + piece if piece else b""
            elif piece.length:
                out += _varint(piece.length << 2 | piece.column) + _varint(piece.start)
        out.append(0)
    return bytes(out)


def unpack(data: bytes) -> Skeleton:
    """The skeleton of these bytes, which may come from anyone.

    Its pieces refer to each byte of a column at most once or so: all copies together are at most
    as long as the columns may be, which keeps what is written bounded.

    Raises:
        ValueError: when they are not those of a skeleton.
    """
    reader = _Reader(data)
    version, form = reader.take(2)
    if version != _VERSION or form >= len(_FORMS):
        raise ValueError("the skeleton is damaged, or of a newer maepress")
    behind = reader.take(reader.varint())
    before, after = reader.varint(), reader.varint()
    if before + after > len(data):
        raise ValueError("the skeleton is damaged: too many parts")
    parts = [reader.part() for _ in range(before + after)]
    if reader.at != len(data):
        raise ValueError("the skeleton is damaged: it does not end where it should")
    _check_copies(parts)
    return Skeleton(_FORMS[form], tuple(parts[:before]), tuple(parts[before:]), behind)


def _check_copies(parts: list[Part]) -> None:
    """No byte of a column is referred to twice: a small skeleton must not describe a huge file."""
    copies = [piece for part in parts for piece in part.pieces if isinstance(piece, Copy)]
    ends = dict.fromkeys(Column, 0)
    for copy in sorted(copies, key=lambda copy: (copy.column, copy.start)):
        if copy.start < ends[copy.column]:
            raise ValueError("the skeleton is damaged: it refers to the same bytes twice")
        ends[copy.column] = copy.start + copy.length


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        taken = self._data[self.at : self.at + count]
        if len(taken) != count:
            raise ValueError("the skeleton is damaged: it ends too early")
        self.at += count
        return taken

    def varint(self) -> int:
        value = 0
        for shift in range(0, 42, 7):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("the skeleton is damaged: a number is too large")

    def part(self) -> Part:
        name = self.take(self.take(1)[0])
        pieces = list[Piece]()
        while head := self.varint():
            length, kind = head >> 2, head & 3
            pieces.append(Copy(Column(kind), self.varint(), length) if kind else self.take(length))
        return Part(name, tuple(pieces))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
