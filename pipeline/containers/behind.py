"""Bytes behind the end of an image that hold only as long as the image keeps its length."""

import struct

from pipeline.containers.contents import Unexpected

_ZIP = b"PK\3\4"


def check_behind(source: bytes, end: int) -> None:
    """Check that what is behind the end of an image does not give its own place in the file.

    An archive that was made for this file does (`zip -A`, Python's `zipfile`), and so do trailers such
    as AFCP. Programs do not find their way in them once the image before them has another length.
    They are not parsed: it is enough to find the place's four bytes.

    Args:
        source: the file.
        end: where its image ends.

    Raises:
        Unexpected: when they do.
    """
    behind = source[end:]
    if not behind or len(source) >= 1 << 32:
        return
    places = {end, end + max(0, behind.find(_ZIP))}
    if any(struct.pack(order, place) in behind for place in places for order in ("<I", ">I")):
        raise Unexpected("container: bytes behind the end that give their place in the file")
