"""Messages between a process and its child: a small JSON value, and blobs beside it.

    bytes of the head u32, of each blob u64 (their number u32 before them), head, blobs

No pickles: what comes back was made by code that has worked on hostile files.
"""

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

_COUNTS = struct.Struct("<II")

Buffer = bytes | bytearray | memoryview


def pack(head: object, blobs: Sequence[Buffer] = ()) -> list[Buffer]:
    """The parts of a message, to be written one after the other."""
    text = json.dumps(head).encode()
    sizes = [memoryview(blob).nbytes for blob in blobs]
    return [_COUNTS.pack(len(text), len(blobs)) + struct.pack(f"<{len(sizes)}Q", *sizes) + text, *blobs]


def unpack(read: Callable[[int], Buffer]) -> tuple[Any, list[Buffer]]:
    """A message: its head and its blobs.

    Args:
        read: gives exactly so many bytes, or raises.
    """
    length, count = _COUNTS.unpack(read(_COUNTS.size))
    sizes = struct.unpack(f"<{count}Q", read(8 * count))
    head = json.loads(bytes(read(length)))
    return head, [read(size) for size in sizes]
