"""Messages between a process and its child: a small JSON value, the head, and any number of blobs.

    u32 size of the head, u32 number of blobs, u64 size of each blob, head, blobs

No pickles: an answer comes from code that has processed hostile files.
"""

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

_COUNTS = struct.Struct("<II")
MOST_HEAD, MOST_BLOBS = 1 << 28, 1 << 24
"""Largest head in bytes, and largest number of blobs; more than any answer has."""

Buffer = bytes | bytearray | memoryview


def pack(head: object, blobs: Sequence[Buffer] = ()) -> list[Buffer]:
    """The parts of a message, in the order in which to write them."""
    text = json.dumps(head).encode()
    sizes = [memoryview(blob).nbytes for blob in blobs]
    return [_COUNTS.pack(len(text), len(blobs)) + struct.pack(f"<{len(sizes)}Q", *sizes) + text, *blobs]


def unpack(read: Callable[[int], Buffer], most: int = 1 << 62) -> tuple[Any, list[Buffer]]:
    """A message: its head and its blobs.

    Args:
        read: returns exactly the given number of bytes, or raises.
        most: bytes of all blobs; memory for more is not allocated.

    Raises:
        ValueError: for sizes that no message has.
    """
    length, count = _COUNTS.unpack(read(_COUNTS.size))
    if length > MOST_HEAD or count > MOST_BLOBS:
        raise ValueError(f"{length} bytes of head and {count} blobs")
    sizes = struct.unpack(f"<{count}Q", read(8 * count))
    if sum(sizes) > most:
        raise ValueError(f"{sum(sizes)} bytes of blobs")
    head = json.loads(bytes(read(length)))
    return head, [read(size) for size in sizes]
