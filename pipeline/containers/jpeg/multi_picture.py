"""The multi-picture segment (MPF) of a JPEG: where the images behind the first one are.

It gives places from its own position in the file, and the length of the first image. Both change
when the first image is compressed again. In a skeleton the places count from the first image's end,
and the length is what goes beyond that end.

Layout: CIPA DC-007, 5.2. Behind `MPF` and a zero byte comes a TIFF header and a directory; its
entry 0xB002 holds 16 bytes per image: attributes, length, place, two numbers.
"""

import struct
from collections.abc import Callable

from pipeline.containers.contents import Unexpected

MPF = b"MPF\0"
_ENTRIES, _UNDEFINED = 0xB002, 7


def relative(data: bytes, base: int, end: int, behind: int) -> bytes:
    """The segment with places from the end of the first image.

    Args:
        data: content of the segment.
        base: position of its TIFF header in the file.
        end: where the first image ends.
        behind: bytes behind that end.

    Raises:
        Unexpected: when an image is not behind the end, or the segment is not as the standard says.
    """

    def moved(place: int, length: int, first: bool) -> tuple[int, int]:
        if first:
            place, length, reach = 0, length - end, length - end
        else:
            place = place + base - end
            reach = place + length
        if place < 0 or length < 0 or reach > behind:
            raise Unexpected("container: a second image that is not where MPF says")
        return place, length

    return _with_places(data, moved)


def absolute(data: bytes, base: int, end: int) -> bytes:
    """The segment as it is in a file; the inverse of `relative`.

    Raises:
        ValueError: when a place is beyond 4 GiB.
    """
    try:
        return _with_places(data, lambda p, n, first: (0, n + end) if first else (p + end - base, n))
    except Unexpected as e:
        raise ValueError(str(e)) from None


def _with_places(data: bytes, moved: Callable[[int, int, bool], tuple[int, int]]) -> bytes:
    """The segment with each place and length replaced by what `moved` makes of them, told which is the first."""
    tiff = bytearray(data[len(MPF) :])
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(tiff[:4]), "")
    try:
        if not order:
            raise ValueError
        at, size = _entries(tiff, order)
        for i in range(0, size, 16):
            length, place = struct.unpack_from(order + "II", tiff, at + i + 4)
            if i == 0 and place:
                raise ValueError
            place, length = moved(place, length, i == 0)
            struct.pack_into(order + "II", tiff, at + i + 4, length, place)
    except (struct.error, ValueError):
        raise Unexpected("container: a damaged MPF segment") from None
    return MPF + bytes(tiff)


def _entries(tiff: bytearray, order: str) -> tuple[int, int]:
    """Place and length of the list of images."""
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, directory)
    for i in range(count):
        tag, kind, size, place = struct.unpack_from(order + "HHII", tiff, directory + 2 + 12 * i)
        if tag == _ENTRIES:
            if kind != _UNDEFINED or size % 16 or size < 16 or place < 8 or place + size > len(tiff):
                raise ValueError
            return place, size
    raise ValueError
