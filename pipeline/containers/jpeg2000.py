"""JPEG 2000: density, ICC, XMP, EXIF and comments; anything else is not carried.

It is written as a PNG, so the skeleton is that of a PNG.
"""

import struct

from pipeline.containers.boxes import Box, boxes
from pipeline.containers.contents import Columns, Contents, Part, Skeleton, Unexpected
from pipeline.containers.png.png import exif_part, profile_part, text_part, xmp_part

_CODESTREAM = b"\xff\x4f\xff\x51"
_TOP = frozenset({b"jP  ", b"ftyp", b"jp2h", b"jp2c", b"uuid"})
_HEADER = frozenset({b"ihdr", b"bpcc", b"colr", b"res ", b"cdef"})
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF_UUID = b"JpgTiffExif->JP2"
_SRGB, _GREY, _YCC = 16, 17, 18
_LATIN = 1
_END, _TILE, _PIXELS, _COMMENT = b"\xff\xd9", b"\xff\x90", b"\xff\x93", b"\xff\x64"
"""Markers."""


def read(source: bytes) -> Contents:
    """A JPEG 2000 file or codestream without its pixels.

    Raises:
        Unexpected: when it holds something that is not carried.
    """
    if source.startswith(_CODESTREAM):
        return _contents(source, [], Columns(), None)
    top = list(boxes(source))
    kinds = [box.kind for box in top]
    if set(kinds) - _TOP or kinds.count(b"jp2c") != 1 or kinds.count(b"jp2h") != 1:
        raise Unexpected("container: an unknown box")
    (header,) = (box for box in top if box.kind == b"jp2h")
    described = list(boxes(source, header.at, header.at + len(header.data)))
    parts, icc = _header_parts(described)
    exif = xmp = b""
    for box in top:
        if box.kind == b"uuid" and box.data[:16] == _XMP_UUID and not xmp:
            xmp = box.data[16:]
            parts.append(xmp_part(len(xmp)))
        elif box.kind == b"uuid" and box.data[:16] == _EXIF_UUID and not exif:
            exif = b"Exif\0\0" + box.data[16:].removeprefix(b"Exif\0\0")
            parts.append(exif_part(exif))
        elif box.kind == b"uuid":
            raise Unexpected("container: an unknown box")
    (stream,) = (box for box in top if box.kind == b"jp2c")
    channels = [box.data for box in described if box.kind == b"cdef"]
    return _contents(stream.data, parts, Columns(icc, exif, xmp), channels[0] if channels else None)


def _header_parts(found: list[Box]) -> tuple[list[Part], bytes]:
    """The chunks of the header's boxes, and the ICC profile."""
    if {box.kind for box in found} - _HEADER:
        raise Unexpected("container: an unknown box")
    parts, icc = list[Part](), b""
    for box in found:
        if box.kind == b"colr":
            method = box.data[:1]
            (space,) = struct.unpack_from(">I", box.data[3:].ljust(4, b"\0"))
            if method == b"\2" and not icc:
                icc = box.data[3:]
                parts.append(profile_part(len(icc)))
            elif method != b"\1" or space not in (_SRGB, _GREY, _YCC):
                raise Unexpected("colours of an unknown kind")
        elif box.kind == b"res ":
            parts.append(_density(box))
    return parts, icc


def _channels(colours: int, components: int) -> bytes:
    """The definition of channels that says: these colours in order, then unassociated alpha for all of them."""
    entries = [(i, 0, i + 1) if i < colours else (i, 1, 0) for i in range(components)]
    return struct.pack(">H", components) + b"".join(struct.pack(">HHH", *entry) for entry in entries)


def _density(box: Box) -> Part:
    """A pHYs chunk of the capture or display resolution, where it is a whole number of pixels per metre."""
    found = [child.data for child in boxes(box.data)]
    if len(found) != 1 or len(found[0]) != 10:
        raise Unexpected("container: an unknown resolution")
    vn, vd, hn, hd, ve, he = struct.unpack(">HHHHbb", found[0])
    down, across = (n * 10.0**e / d if d else 0.5 for n, d, e in ((vn, vd, ve), (hn, hd, he)))
    if not (0 < down < 2**31 and 0 < across < 2**31 and down == int(down) and across == int(across)):
        raise Unexpected("container: an unknown resolution")
    return Part(b"pHYs", (struct.pack(">IIB", int(across), int(down), 1),))


def _contents(stream: bytes, parts: list[Part], columns: Columns, channels: bytes | None) -> Contents:
    """Size, bands and comments of a codestream's main header."""
    if not stream.startswith(_CODESTREAM) or len(stream) < 48 or not stream.rstrip(b"\0").endswith(_END):
        raise Unexpected("container: no codestream, or one that is cut short")
    right, bottom, left, top = struct.unpack_from(">IIII", stream, 8)
    (components,) = struct.unpack_from(">H", stream, 40)
    described = [stream[42 + 3 * i : 45 + 3 * i] for i in range(components)]
    if any(d[:1] != b"\7" for d in described):
        raise Unexpected("samples that are not 8-bit and unsigned")
    colours = components - (components in (2, 4))
    if channels != _channels(colours, components) and (channels is not None or colours != components):
        raise Unexpected("extra bands")
    at = 4 + struct.unpack_from(">H", stream, 4)[0]
    while stream[at : at + 2] != _TILE:
        if len(stream) < at + 4 or stream[at] != 0xFF:
            raise Unexpected("container: cut short")
        (length,) = struct.unpack_from(">H", stream, at + 2)
        data = stream[at + 4 : at + 2 + length]
        if stream[at : at + 2] == _COMMENT:
            if data[:2] != bytes([0, _LATIN]) or b"\0" in data[2:].rstrip(b"\0"):
                raise Unexpected("container: a comment that is no text")
            parts.append(text_part("Comment", data[2:].rstrip(b"\0").decode("latin-1")))
        at += 2 + length
    _check_tiles(stream, at)
    size = (right - left, bottom - top)
    return Contents(*size, components, Skeleton("png", tuple(parts)), columns)


def _check_tiles(stream: bytes, at: int) -> None:
    """Check that the parts of the tiles hold pixels alone, and that the image ends behind the last of them.

    Args:
        stream: the codestream.
        at: where the first part starts.

    Raises:
        Unexpected: for a comment in a part, and for bytes behind the end.
    """
    while stream[at : at + 2] == _TILE:
        (length,) = struct.unpack_from(">I", stream, at + 6)
        inside = at + 12
        while (marker := stream[inside : inside + 2]) != _PIXELS:
            if marker == _COMMENT or marker[:1] != b"\xff":
                raise Unexpected("container: a comment in a tile")
            inside += 2 + struct.unpack_from(">H", stream, inside + 2)[0]
        if not length:  # up to the end, which nothing else gives
            if stream.find(_END, inside) != len(stream.rstrip(b"\0")) - len(_END):
                raise Unexpected("container: bytes behind the end")
            return
        if at + length < inside:
            raise Unexpected("container: damaged")
        at += length
    if not stream.startswith(_END, at) or stream[at + len(_END) :].strip(b"\0"):
        raise Unexpected("container: bytes behind the end")
