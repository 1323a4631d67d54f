"""AVIF and HEIC: colour tags, ICC, EXIF and XMP of a file with one image; anything else is not carried.

It is written as a PNG, so the skeleton is that of a PNG. The colour tag `nclx` becomes a cICP chunk:
both name primaries and transfer function by the numbers of ITU-T H.273.
"""

import struct
from dataclasses import dataclass

from pipeline.containers.boxes import Box, boxes, full
from pipeline.containers.contents import Columns, Contents, Part, Skeleton, Unexpected
from pipeline.containers.png.png import EXIF_PREFIX, exif_part, profile_part, xmp_part

_TOP = frozenset({b"ftyp", b"meta", b"mdat", b"free", b"skip"})
_META = frozenset({b"hdlr", b"pitm", b"iloc", b"iinf", b"iref", b"iprp", b"idat"})
_PROPERTIES = frozenset({b"ispe", b"pixi", b"colr", b"auxC"})
AV1, HEVC = b"av01", b"hvc1"
"""The codings of an image, as items name them."""
_OF_CODING = {AV1: (b"av1C",), HEVC: (b"hvcC", b"clap")}
"""Properties that only images of one coding may have."""
_LARGEST_BLOCK = 64
_XMP_TYPE = b"application/rdf+xml"
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_UNSPECIFIED, _SRGB = (2, 2), (1, 13)
"""Primaries and transfer function."""


@dataclass(frozen=True, slots=True)
class _Item:
    number: int
    kind: bytes
    content_type: bytes


def read(source: bytes, exif: bytes, xmp: bytes, coding: bytes = AV1) -> Contents:
    """An AVIF or HEIC without its pixels.

    Args:
        source: the file.
        exif: the block that the decoder found.
        xmp: the packet that it found.
        coding: AV1 or HEVC.

    Raises:
        Unexpected: when it holds something that is not carried.
    """
    top = {box.kind: box for box in boxes(source)}
    if set(top) - _TOP or b"meta" not in top or sum(box.kind == b"meta" for box in boxes(source)) != 1:
        raise Unexpected("container: an unknown box" if b"moov" not in top else "several frames or pages")
    meta = _children(top[b"meta"], source, 4)
    if set(meta) - _META or not {b"pitm", b"iinf", b"iprp"} <= set(meta):
        raise Unexpected("container: an unknown box")
    items = _items(meta[b"iinf"])
    properties, owned = _properties(meta[b"iprp"], source)
    alpha = _check_items(items, meta.get(b"iref"), owned, properties, exif, xmp, coding)
    block = exif.removeprefix(EXIF_PREFIX)
    exif = EXIF_PREFIX + block if block else b""  # as files of other formats have it; writers of AVIF differ
    if block not in source or xmp not in source:
        raise Unexpected("container: EXIF that cannot be read")  # decoders set its orientation to the image's
    if coding == HEVC:
        _check_hevc(properties)
    main = [properties[i] for i in owned.get(_primary(meta[b"pitm"]), [])]
    sizes = {box.data[4:12] for box in main if box.kind == b"ispe" and len(box.data) == 12}
    depth = {tuple(box.data[5:]) for box in main if box.kind == b"pixi"}
    if len(sizes) != 1 or len(depth) > 1:
        raise Unexpected("container: no size")
    width, height = struct.unpack(">II", sizes.pop())
    for box in main:
        if box.kind == b"clap":
            width, height = _without_padding(box.data, width, height)
    colours = len(depth.pop()) if depth else 3
    icc, parts = _colours([box.data for box in main if box.kind == b"colr"])
    parts += [exif_part(exif)] if exif else []
    parts += [xmp_part(len(xmp))] if xmp else []
    grey = colours == 1
    bands = (1 if grey else 3) + alpha
    return Contents(width, height, bands, Skeleton("png", tuple(parts)), Columns(icc, exif, xmp))


def _children(box: Box, source: bytes, skip: int) -> dict[bytes, Box]:
    found = list(boxes(source, box.at + skip, box.at + len(box.data)))
    if len({child.kind for child in found}) != len(found):
        raise Unexpected("container: a box that is given twice")
    return {child.kind: child for child in found}


def _primary(box: Box) -> int:
    version, _, data = full(box)
    return int.from_bytes(data[: 4 if version else 2], "big")


def _items(box: Box) -> list[_Item]:
    version, _, data = full(box)
    found = list[_Item]()
    for entry in boxes(data, 4 if version else 2):
        kind, _, item = full(entry)
        if entry.kind != b"infe" or kind not in (2, 3):
            raise Unexpected("container: an unknown kind of item")
        size = 2 if kind == 2 else 4
        number, rest = int.from_bytes(item[:size], "big"), item[size + 2 :]
        texts = rest[4:].split(b"\0")
        found.append(_Item(number, rest[:4], texts[1] if len(texts) > 1 else b""))
    return found


def _properties(box: Box, source: bytes) -> tuple[dict[int, Box], dict[int, list[int]]]:
    """Properties by number from 1, and the numbers that each item has."""
    children = _children(box, source, 0)
    if set(children) != {b"ipco", b"ipma"}:
        raise Unexpected("container: an unknown box")
    container = children[b"ipco"]
    found = dict(enumerate(boxes(source, container.at, container.at + len(container.data)), 1))
    version, flags, data = full(children[b"ipma"])
    try:
        return found, _associations(data, 4 if version else 2, wide=bool(flags & 1))
    except (IndexError, struct.error):
        raise Unexpected("container: cut short") from None


def _associations(data: bytes, id_bytes: int, wide: bool) -> dict[int, list[int]]:
    (count,) = struct.unpack_from(">I", data)
    at, owned = 4, dict[int, list[int]]()
    for _ in range(count):
        item, number = int.from_bytes(data[at : at + id_bytes], "big"), data[at + id_bytes]
        at += id_bytes + 1
        step = 2 if wide else 1
        entries = [int.from_bytes(data[at + step * i : at + step * i + step], "big") for i in range(number)]
        at += step * number
        owned.setdefault(item, []).extend(entry & (0x7FFF if wide else 0x7F) for entry in entries)
    return owned


def _check_items(
    items: list[_Item],
    references: Box | None,
    owned: dict[int, list[int]],
    properties: dict[int, Box],
    exif: bytes,
    xmp: bytes,
    coding: bytes,
) -> bool:
    """Whether there is an alpha plane.

    Raises:
        Unexpected: for any other image, and for metadata that the decoder did not find.
    """
    kinds = [item.kind for item in items]
    auxiliary = {item.number for item in items if item.kind == coding}
    used = [properties.get(i) for numbers in owned.values() for i in numbers if i]
    if any(box is None or box.kind not in (*_PROPERTIES, *_OF_CODING[coding]) for box in used):
        raise Unexpected("container: a property of the image that is not carried")
    alphas = [box.data[4:].split(b"\0")[0] for box in used if box is not None and box.kind == b"auxC"]
    if any(kind not in (coding, b"Exif", b"mime") for kind in kinds):
        raise Unexpected("container: a second image or an unknown item")
    if len(auxiliary) != 1 + len(alphas) or len(alphas) > 1 or any(name not in _ALPHA for name in alphas):
        raise Unexpected("container: a second image or an unknown item")
    if references is not None and b"prem" in references.data:
        raise Unexpected("premultiplied alpha")
    mimes = [item.content_type for item in items if item.kind == b"mime"]
    if mimes not in ([], [_XMP_TYPE]) or bool(mimes) != bool(xmp):
        raise Unexpected("container: a second image or an unknown item")
    if kinds.count(b"Exif") != int(bool(exif)):
        raise Unexpected("container: EXIF that cannot be read")
    return bool(alphas)


def _without_padding(clap: bytes, width: int, height: int) -> tuple[int, int]:
    """The size of an image whose coding fills whole blocks: `clap` cuts the rest off, right and below.

    Raises:
        Unexpected: when it cuts anything else, which would be pixels of the image.
    """
    wide, wide_by, high, high_by, x, x_by, y, y_by = struct.unpack(">IIIIiIiI", clap)
    corner = 2 * x == (wide - width) * x_by and 2 * y == (high - height) * y_by
    inside = 0 <= width - wide < _LARGEST_BLOCK and 0 <= height - high < _LARGEST_BLOCK
    if (wide_by, high_by) != (1, 1) or not (x_by and y_by and corner and inside):
        raise Unexpected("container: a property of the image that is not carried")
    return wide, high


def _check_hevc(properties: dict[int, Box]) -> None:
    """Check the depth of the samples.

    Raises:
        Unexpected: for other than 8 bits.
    """
    for box in properties.values():
        if box.kind == b"hvcC" and (len(box.data) < 19 or box.data[17] & 7 or box.data[18] & 7):
            raise Unexpected("more than 8 bits a channel")


def _colours(tags: list[bytes]) -> tuple[bytes, list[Part]]:
    """The ICC profile, and the chunks of the colour tags.

    Raises:
        Unexpected: for a tag that no chunk can hold.
    """
    icc, parts, named = b"", list[Part](), list[Part]()
    for tag in tags:
        kind, data = tag[:4], tag[4:]
        if kind in (b"prof", b"rICC") and not icc and data:
            icc = data
            parts.append(profile_part(len(icc)))
        elif kind == b"nclx" and len(data) == 7:
            primaries, transfer = struct.unpack_from(">HH", data)
            if max(primaries, transfer) > 255:
                raise Unexpected("colours of an unknown kind")
            if (primaries, transfer) != _UNSPECIFIED:
                named.append(Part(b"cICP", (bytes([primaries, transfer, 0, 1]),)))
        else:
            raise Unexpected("colours of an unknown kind")
    if icc and any(part.pieces != (bytes([*_SRGB, 0, 1]),) for part in named):
        raise Unexpected("colours of an unknown kind")  # such as PQ, which no profile expresses
    return icc, parts or named  # encoders write sRGB's tag beside any profile, which goes before it
