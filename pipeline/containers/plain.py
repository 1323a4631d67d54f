"""Formats that hold little beside pixels: Netpbm without comments, and QOI. What they hold more is not carried."""

import re
import struct

from pipeline.containers.contents import Contents, Skeleton, Unexpected

_NETPBM = re.compile(rb"P([56])\s+(\d{1,9})\s+(\d{1,9})\s+255\s")
_QOI_END = bytes(7) + b"\1"


def read_netpbm(source: bytes) -> Contents:
    """A binary PGM or PPM of 8 bits.

    Raises:
        Unexpected: for anything else, for comments, and for bytes behind the end.
    """
    match = _NETPBM.match(source)
    if match is None:
        raise Unexpected("container: comments, or an unusual kind of Netpbm")
    bands, width, height = (1 if match[1] == b"5" else 3), int(match[2]), int(match[3])
    if len(source) != match.end() + width * height * bands:
        raise Unexpected("container: bytes behind the end")
    return Contents(width, height, bands, Skeleton("png"))


def read_qoi(source: bytes) -> Contents:
    """A QOI file in sRGB.

    Raises:
        Unexpected: for linear colours, and for anything behind the end.
    """
    if source[:4] != b"qoif" or len(source) < 22 or not source.endswith(_QOI_END):
        raise Unexpected("container: bytes behind the end")
    width, height, bands, space = struct.unpack_from(">IIBB", source, 4)
    if space:
        raise Unexpected("colours of an unknown kind")
    return Contents(width, height, bands, Skeleton("png"))
