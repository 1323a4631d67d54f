"""JPEG: every APPn and COM segment in order, and what is behind the end of the image.

About storage, and so not part of the skeleton: frame and scan headers, Huffman tables, fill bytes,
and the colour transform in Adobe's segment, as what is written is YCbCr. Quantisation tables and the
sampling of colour are one part, as a restored JPEG is written with them: the pixels of its source
are sums of their multiples, so that with others it would be larger or lose more.
"""

import itertools
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.containers.behind import check_behind
from pipeline.containers.contents import Column, Columns, Contents, Copy, Part, Skeleton, Unexpected
from pipeline.containers.jpeg.multi_picture import MPF, absolute, relative
from pipeline.containers.jpeg.quantisation import QUANTISATION, described, tables_in

_SOI, _EOI, _SOS, _COMMENT, _QUANTISATION_TABLES = 0xD8, 0xD9, 0xDA, 0xFE, 0xDB
_FRAMES = (0xC0, 0xC1, 0xC2)
"""Baseline, extended and progressive, Huffman-coded. Others are not decoded."""
_TABLES = (0xC4, 0xDB, 0xDD)
_MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_EXIF, _XMP, _ICC, _ADOBE = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"Adobe"
_ADOBE_TRANSFORM = 11
"""Position of the colour transform in Adobe's segment."""
_IMAGE = re.compile(rb"\xff\xd8\xff")
_MOST_IMAGES = 64
"""Images behind the end whose places are looked for: cameras write one or two."""
_MOST_BLOCKS, _MOST_NOTES = 4, 2
"""EXIF blocks, and entries of maker notes in each byte order, that are looked at: there is one, rarely two."""
_HEADERS_IN_NOTES = range(0, 17, 2)
"""Where a maker note may have the header from which its places count: Olympus at 0, Nikon at 10."""
_LONGEST = 65533
"""Bytes of content in one segment."""
_JFIF = b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
"""JFIF without density and thumbnail, which encoders write by default."""


@dataclass(frozen=True, slots=True)
class _Segment:
    marker: int
    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _File:
    segments: list[_Segment]
    frame: bytes
    first_scan: int
    end: int
    tables: dict[int, bytes]


def read(source: bytes, places: bool = True) -> Contents:
    """A JPEG without its pixels.

    Args:
        source: the file.
        places: look for places in the file that are given where they cannot be put right.

    Raises:
        Unexpected: when it holds something that is not carried.
    """
    file = _parse(source)
    precision, height, width, components = struct.unpack_from(">BHHB", file.frame + bytes(6))
    if precision != 8:
        raise Unexpected("more than 8 bits a channel")
    behind = source[file.end :]
    columns, parts = _parts(file, components, len(behind))
    frame = [file.frame[6 + 3 * i : 9 + 3 * i] for i in range(components)]
    adobe = next((s.data for s in file.segments if s.marker == 0xEE and s.data.startswith(_ADOBE)), b"")
    if components in (1, 3) and all(len(one) == 3 for one in frame):
        stored = described(frame, file.tables, adobe[_ADOBE_TRANSFORM : _ADOBE_TRANSFORM + 1])
        parts.append(Part(QUANTISATION, (stored,)))
    if places and behind:
        check_behind(source, file.end)
        if _points_behind(file, source):
            raise Unexpected("container: EXIF that points behind the end of the image")
    return Contents(width, height, components, Skeleton("jpeg", tuple(parts), (), behind), columns)


def check_bare(source: bytes) -> None:
    """Check that a JPEG inside another file holds pixels and nothing else.

    Raises:
        Unexpected: for metadata, a thumbnail, and bytes behind the end.
    """
    file = _parse(source)
    jfif, adobe = (0xE0, b"JFIF\0", len(_JFIF)), (0xEE, _ADOBE, _ADOBE_TRANSFORM + 1)
    for segment in file.segments:
        if not any(
            segment.marker == marker and segment.data.startswith(name) and len(segment.data) == length
            for marker, name, length in (jfif, adobe)
        ):
            raise Unexpected("container: metadata in the JPEG that holds the pixels")
    if source[file.end :].strip(b"\0"):
        raise Unexpected("container: bytes behind the JPEG that holds the pixels")


def write(encoded: bytes, skeleton: Skeleton, columns: Columns) -> bytes:
    """A JPEG with another's skeleton.

    Args:
        encoded: pixels, as an encoder wrote them; its own segments are left out.
        skeleton: what to write beside them.
        columns: what it refers to.

    Raises:
        ValueError: when a part does not fit into a segment.
    """
    file = _parse(encoded)
    before = [part for part in skeleton.before if part.name != QUANTISATION]
    contents = [part.data(columns) for part in before]
    tables = _without_segments(encoded, file)
    length = 2 + sum(4 + len(data) for data in contents) + len(tables)
    out = bytearray([0xFF, _SOI])
    for part, data in zip(before, contents, strict=True):
        marker = part.name[0]
        if not (0xE0 <= marker <= 0xEF or marker == _COMMENT) or len(data) > _LONGEST:
            raise ValueError(f"a part of {len(data)} bytes does not fit into a JPEG's segment {marker:02x}")
        if part.name[1:] == MPF:
            data = absolute(data, len(out) + 4 + len(MPF), length)
        out += bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data
    return bytes(out) + tables + skeleton.behind


def default_skeleton(columns: Columns) -> Skeleton:
    """The skeleton of a JPEG that holds these columns and nothing else.

    Raises:
        ValueError: when XMP is too long for one segment.
    """
    parts = [Part(b"\xe0", (_JFIF,))]
    start = len(_EXIF) if columns.exif.startswith(_EXIF) else 0
    step = _LONGEST - len(_EXIF)
    for at in range(start, len(columns.exif), step):
        parts.append(Part(b"\xe1", (_EXIF, Copy(Column.EXIF, at, min(step, len(columns.exif) - at)))))
    if len(_XMP) + len(columns.xmp) > _LONGEST:
        raise ValueError("a JPEG holds at most 64 KiB of XMP")
    if columns.xmp:
        parts.append(Part(b"\xe1", (_XMP, Copy(Column.XMP, 0, len(columns.xmp)))))
    step = _LONGEST - len(_ICC) - 2
    starts = range(0, len(columns.icc), step)
    if len(starts) > 255:
        raise ValueError("a JPEG holds at most 16 MiB of ICC profile")
    for number, at in enumerate(starts, 1):
        head = _ICC + bytes([number, len(starts)])
        parts.append(Part(b"\xe2", (head, Copy(Column.ICC, at, min(step, len(columns.icc) - at)))))
    return Skeleton("jpeg", tuple(parts))


def _parse(source: bytes) -> _File:
    if source[:2] != bytes([0xFF, _SOI]):
        raise Unexpected("container: no start of image")
    segments, frame, first_scan, at = list[_Segment](), b"", 0, 2
    tables = dict[int, bytes]()
    while True:
        marker, start = _marker(source, at)
        if marker == _EOI:
            if not frame or not first_scan:
                raise Unexpected("container: no scan")
            return _File(segments, frame, first_scan, start, tables)
        (length,) = struct.unpack_from(">H", source[start : start + 2].rjust(2, b"\0"))
        data = source[start + 2 : start + length]
        if length < 2 or len(data) != length - 2:
            raise Unexpected("container: a segment is cut short")
        at = start + length
        if 0xE0 <= marker <= 0xEF or marker == _COMMENT:
            if first_scan:
                raise Unexpected("container: metadata between scans")
            segments.append(_Segment(marker, start + 2, data))
        elif marker in _FRAMES and not frame:
            frame = data
        elif marker == _SOS:
            first_scan = first_scan or start
            found = _MARKER_IN_SCAN.search(source, at)
            if found is None:
                raise Unexpected("container: no end of image")
            at = found.start()
        elif marker == _QUANTISATION_TABLES and not first_scan:
            tables |= tables_in(data)
        elif marker not in _TABLES:
            raise Unexpected("container: an unknown kind of JPEG")


def _marker(source: bytes, at: int) -> tuple[int, int]:
    """The marker at this place, past fill bytes, and where its content starts."""
    if source[at : at + 1] != b"\xff":
        raise Unexpected("container: no marker where one should be" if at < len(source) else "container: cut short")
    while source[at : at + 1] == b"\xff":
        at += 1
    if at >= len(source):
        raise Unexpected("container: cut short")
    return source[at], at + 1


def _without_segments(encoded: bytes, file: _File) -> bytes:
    """An encoder's file from behind SOI to behind EOI, without APPn and COM segments."""
    out, at = bytearray(), 2
    for segment in file.segments:
        out += encoded[at : segment.at - 4]
        at = segment.at + len(segment.data)
    return bytes(out) + encoded[at : file.end]


def _parts(file: _File, components: int, behind: int) -> tuple[Columns, list[Part]]:
    """The columns, and the segments as parts that refer to them."""
    profile = _profile(file.segments)
    exif, xmp, parts = b"", b"", list[Part]()
    for segment in file.segments:
        name, data = bytes([segment.marker]), segment.data
        part = Part(name, (data,))
        if segment.marker == 0xE1 and data.startswith(_EXIF) and not (exif and _is_tiff(data[len(_EXIF) :])):
            start = len(exif) or len(_EXIF)
            exif += data[len(_EXIF) :] if exif else data
            part = Part(name, (_EXIF, Copy(Column.EXIF, start, len(data) - len(_EXIF))))
        elif segment.marker == 0xE1 and data.startswith(_XMP) and not xmp:
            xmp = data[len(_XMP) :]
            part = Part(name, (_XMP, Copy(Column.XMP, 0, len(xmp))))
        elif segment.marker == 0xE2 and segment.at in profile:
            start, length = profile[segment.at][0], len(profile[segment.at][1])
            part = Part(name, (data[: len(_ICC) + 2], Copy(Column.ICC, start, length)))
        elif segment.marker == 0xE2 and data.startswith(MPF):
            part = Part(name + MPF, (relative(data, segment.at + len(MPF), file.end, behind),))
        elif segment.marker == 0xEE and data.startswith(_ADOBE) and len(data) > _ADOBE_TRANSFORM and components == 3:
            part = Part(name, (data[:_ADOBE_TRANSFORM] + b"\1" + data[_ADOBE_TRANSFORM + 1 :],))
        parts.append(part)
    icc = b"".join(chunk for _, chunk in sorted(profile.values()))
    return Columns(icc, exif, xmp), parts


def _points_behind(file: _File, source: bytes) -> bool:
    """Whether EXIF gives the place of something behind the end, as maker notes of some cameras do for a preview.

    Such a place would be wrong once the first image has another length. Maker notes are not parsed:
    it is enough to find the place's four bytes in the block. It counts from the start of the file,
    of the TIFF header or of the maker note, or from the header inside that. A whole maker note may
    stand behind the end, too.
    """
    blocks = [s for s in file.segments if s.marker == 0xE1 and s.data.startswith(_EXIF)]
    data = b"".join(block.data[len(_EXIF) :] for block in blocks)
    notes = list(_maker_notes(data))
    if any(start + length > len(data) for start, length in notes):
        return True
    images = [file.end, *(match.start() for match in _IMAGE.finditer(source, file.end))][:_MOST_IMAGES]
    headers = [block.at + len(_EXIF) for block in blocks if _is_tiff(block.data[len(_EXIF) :])][:_MOST_BLOCKS]
    bases = {0, *headers}
    bases |= {at + start + inside for at in headers[:1] for start, _ in notes for inside in _HEADERS_IN_NOTES}
    places = {place - base for place in images for base in bases if place >= base}
    return any(struct.pack(order, place) in data for place in places for order in ("<I", ">I"))


def _maker_notes(exif: bytes) -> Iterator[tuple[int, int]]:
    """Places in an EXIF block and lengths of what may be maker notes, found by their entry in a directory."""
    for order, entry in (("<", b"\x7c\x92\x07\0"), (">", b"\x92\x7c\0\x07")):
        for match in itertools.islice(re.finditer(re.escape(entry), exif), _MOST_NOTES):
            if match.end() + 8 <= len(exif):
                length, start = struct.unpack_from(order + "II", exif, match.end())
                if length > 4:
                    yield start, length


def _is_tiff(data: bytes) -> bool:
    return data[:4] in (b"II*\0", b"MM\0*")


def _profile(segments: list[_Segment]) -> dict[int, tuple[int, bytes]]:
    """By the segments' places, the pieces of an ICC profile: where each starts in it, and its bytes.

    Empty when they do not make up exactly one profile: then they are carried as any other segment.
    """
    found = [s for s in segments if s.marker == 0xE2 and s.data.startswith(_ICC) and len(s.data) > len(_ICC) + 2]
    found.sort(key=lambda s: s.data[len(_ICC)])
    numbers = [(s.data[len(_ICC)], s.data[len(_ICC) + 1]) for s in found]
    if numbers != [(i, len(found)) for i in range(1, len(found) + 1)]:
        return {}
    pieces, start = dict[int, tuple[int, bytes]](), 0
    for segment in found:
        chunk = segment.data[len(_ICC) + 2 :]
        pieces[segment.at] = (start, chunk)
        start += len(chunk)
    return pieces
