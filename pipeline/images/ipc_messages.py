"""Messages between a process and its child: a small JSON value, the head, and any number of blobs.

    u32 size of the head, u32 number of blobs, u64 size of each blob, head, blobs

No pickles: an answer comes from code that has processed hostile files.
"""

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

_COUNTS = struct.Struct("<II")

Buffer = bytes | bytearray | memoryview


def pack(head: object, blobs: Sequence[Buffer] = ()) -> list[Buffer]:
    """The parts of a message, in the order in which to write them."""
    text = json.dumps(head).encode()
    sizes = [memoryview(blob).nbytes for blob in blobs]
    return [_COUNTS.pack(len(text), len(blobs)) + struct.pack(f"<{len(sizes)}Q", *sizes) + text, *blobs]


def unpack(read: Callable[[int], Buffer]) -> tuple[Any, list[Buffer]]:
    """A message: its head and its blobs.

    Args:
        read: returns exactly the given number of bytes, or raises.
    """
    length, count = _COUNTS.unpack(read(_COUNTS.size))
    sizes = struct.unpack(f"<{count}Q", read(8 * count))
    head = json.loads(bytes(read(length)))
    return head, [read(size) for size in sizes]
