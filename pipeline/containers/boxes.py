"""Boxes of the ISO base media file format (AVIF) and of JPEG 2000: length, type, content."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.containers.contents import Unexpected


@dataclass(frozen=True, slots=True)
class Box:
    """A box: its type, its content, and where that is in the file."""

    kind: bytes
    data: bytes
    at: int


def boxes(source: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes from `start` to `end`.

    Raises:
        Unexpected: when the last box does not end where it should.
    """
    end, at = len(source) if end is None else end, start
    while at < end:
        if at + 8 > end:
            raise Unexpected("container: bytes behind the end")
        size, kind = struct.unpack_from(">I4s", source, at)
        head = 8
        if size == 1 and at + 16 <= end:
            size, head = struct.unpack_from(">Q", source, at + 8)[0], 16
        size = size or end - at
        if size < head or at + size > end:
            raise Unexpected("container: cut short")
        yield Box(kind, source[at + head : at + size], at + head)
        at += size


def full(box: Box) -> tuple[int, int, bytes]:
    """Version, flags and content of a box that has them.

    Raises:
        Unexpected: when it is too short.
    """
    if len(box.data) < 4:
        raise Unexpected("container: cut short")
    return box.data[0], int.from_bytes(box.data[1:4], "big"), box.data[4:]
