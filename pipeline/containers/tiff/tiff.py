"""TIFF: every tag of the page that is not about how its pixels are stored.

A part is one tag: its name holds directory, tag and type, its content the value in the file's byte
order, which the part `order` gives. Directories of EXIF, GPS and interoperability are carried tag
by tag. A file with bytes that no tag refers to is kept: they may be anything.
"""

import struct
from collections.abc import Iterator, Sequence

from pipeline.containers.contents import Column, Columns, Contents, Copy, Part, Skeleton, Unexpected
from pipeline.containers.jpeg import jpeg
from pipeline.containers.tiff import tags as tags
from pipeline.containers.tiff.structure import Entry, TiffFile, pack_directory

ORDER = b"order"
_NAME = struct.Struct(">HHH")
_PAGE = 0
_COLUMNS = {tags.ICC: Column.ICC, tags.XMP: Column.XMP}
_CARRIED = {
    _PAGE: tags.CARRIED,
    34665: tags.CARRIED_IN_EXIF,
    34853: tags.CARRIED_IN_GPS,
    tags.INTEROPERABILITY: tags.CARRIED_IN_INTEROPERABILITY,
}
_NESTED = {_PAGE: tuple(tags.DIRECTORIES), 34665: (tags.INTEROPERABILITY,)}
"""Tags whose values are the places of directories, by the directory that they are in."""
_PALETTE = 3
_COLOURS = {0: 1, 1: 1, 2: 3, 6: 3}
"""Samples per pixel of grey (0: white is zero), RGB, and YCbCr inside JPEG, which is decoded to RGB."""
_LONG, _MOST = 4, (1 << 32) - 1
_OLD_JPEG, _JPEG = (6,), (7,)
"""Compressions."""
_WRITTEN = frozenset(tags.TYPE_BYTES) - {tags.POINTER}
_FEW_BYTES = 64
"""Bytes that nothing refers to, up to which they are taken for what an editor left behind."""


def read(source: bytes, exif: bytes) -> Contents:
    """A TIFF of one page without its pixels.

    Args:
        source: the file.
        exif: the block for the column, as the file itself has none.

    Raises:
        Unexpected: when it holds something that is not carried.
    """
    file = TiffFile.of(source)
    page, following = file.directory(file.first())
    check_kind(file, page, following)
    width, height = (file.numbers(page.get(tag))[:1] for tag in (tags.WIDTH, tags.HEIGHT))
    if not width or not height:
        raise Unexpected("container: no size")
    bands = _bands(file, page)
    mark_pixels(file, page)
    _check_jpegs(file, page)
    values = no_columns()
    parts = [Part(ORDER, (b"II" if file.order == "<" else b"MM",)), *carried_parts(file, page, values)]
    check_accounted(file)
    columns = Columns(values[Column.ICC], exif, values[Column.XMP])
    return Contents(width[0], height[0], bands, Skeleton("tiff", tuple(parts)), columns)


def write(encoded: bytes, skeleton: Skeleton, columns: Columns) -> bytes:
    """A TIFF with another's skeleton; see `pipeline.containers.jpeg.jpeg.write`."""
    return _around(encoded, *directories(skeleton, columns))


def write_with_tags_of(encoded: bytes, other: bytes) -> bytes:
    """A TIFF's pixels with the tags of another TIFF, but for those about storage.

    Args:
        encoded: pixels, as an encoder wrote them; its own tags are left out.
        other: the tags and the directories of EXIF, GPS and interoperability.

    Raises:
        ValueError: when no TIFF can hold them.
    """
    try:
        file = TiffFile.of(other)
        found = dict(_entries(file, _PAGE, file.directory(file.first())[0]))
    except Unexpected as e:
        raise ValueError(str(e)) from None
    return _around(encoded, file.order, found)


def _entries(file: TiffFile, directory: int, page: dict[int, Entry]) -> Iterator[tuple[int, list[Entry]]]:
    """Each directory that is not empty with its tags, without those about storage, and those that are places."""
    nested = _NESTED.get(directory, ())
    yield directory, [entry for tag, entry in page.items() if tag not in nested and tag not in tags.STORAGE]
    for tag in nested:
        for place in file.numbers(page.get(tag))[:1]:
            if any(file.range(place, 2)):
                yield from _entries(file, tag, file.directory(place)[0])


def _around(encoded: bytes, order: str, found: dict[int, list[Entry]]) -> bytes:
    """A TIFF's pixels and how they are stored, with tags by directory."""
    file = TiffFile.of(encoded)
    page, _ = file.directory(file.first())
    places, sizes = (file.numbers(page.get(tag)) for tag in (tags.STRIP_OFFSETS, tags.STRIP_BYTES))
    strips = [file.range(at, size) for at, size in zip(places, sizes, strict=True)]
    storage = [
        numbers_entry(entry.tag, entry.kind, file.numbers(entry), order)
        for entry in page.values()
        if entry.tag in tags.STORAGE and entry.tag not in (tags.STRIP_OFFSETS, tags.STRIP_BYTES)
    ]
    return assemble(order, found, storage, strips)


def assemble(order: str, directories: dict[int, list[Entry]], storage: list[Entry], strips: list[bytes]) -> bytes:
    """A TIFF of one page.

    Args:
        order: "<" or ">".
        directories: tags by directory; it is used up.
        storage: the page's tags about storage, but those of the strips' places and lengths.
        strips: the pixels.

    Raises:
        ValueError: when no TIFF can hold it.
    """
    out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    offsets = []
    for strip in strips:
        offsets.append(len(out))
        out += strip + bytes(len(strip) & 1)
    if len(out) > _MOST:
        raise ValueError("a TIFF holds at most 4 GiB")
    entries = [*directories.pop(_PAGE, []), *storage]
    entries.append(numbers_entry(tags.STRIP_OFFSETS, _LONG, offsets, order))
    entries.append(numbers_entry(tags.STRIP_BYTES, _LONG, [len(strip) for strip in strips], order))
    for tag in (tags.INTEROPERABILITY, *tags.DIRECTORIES):
        if found := directories.pop(tag, []):
            parent = directories.setdefault(34665, []) if tag == tags.INTEROPERABILITY else entries
            parent.append(Entry(tag, _LONG, struct.pack(order + "I", len(out))))
            out += pack_directory(found, len(out), order)
    out[4:8] = struct.pack(order + "I", len(out))
    return bytes(out) + pack_directory(entries, len(out), order)


def numbers_entry(tag: int, kind: int, numbers: Sequence[int], order: str) -> Entry:
    """A tag of whole numbers; its type is that of bytes, shorts or longs."""
    code = {1: "B", 3: "H", 4: "I"}[kind]
    return Entry(tag, kind, struct.pack(f"{order}{len(numbers)}{code}", *numbers))


def name_of(directory: int, tag: int, kind: int) -> bytes:
    """The name of a tag's part."""
    return _NAME.pack(directory, tag, kind)


def no_columns() -> dict[Column, bytes]:
    """Room for the values of columns that `carried_parts` finds."""
    return {Column.ICC: b"", Column.XMP: b""}


def check_kind(file: TiffFile, page: dict[int, Entry], following: int) -> None:
    """Check that this is one finished picture.

    Raises:
        Unexpected: for a raw, layers, or one page of several.
    """
    if tags.DNG_VERSION in page:
        raise Unexpected("camera raw")
    if tags.LAYERS in page:
        raise Unexpected("layers")
    kind, old_kind = file.numbers(page.get(tags.SUBFILE)), file.numbers(page.get(tags.OLD_SUBFILE))
    if tags.SUB_IFDS in page or following or kind not in ((), (0,)) or old_kind not in ((), (1,)):
        raise Unexpected("several frames or pages")


def _bands(file: TiffFile, page: dict[int, Entry]) -> int:
    """Samples per pixel; 3 for a palette.

    Raises:
        Unexpected: for samples that 8-bit grey or RGB with or without alpha does not hold exactly.
    """
    (samples,) = file.numbers(page.get(tags.SAMPLES)) or (1,)
    depths = file.numbers(page.get(tags.BITS)) or (1,) * samples
    bits = set(depths)
    if len(depths) != samples:
        raise Unexpected("container: a tag of an unexpected length")
    photometric, *_ = (*file.numbers(page.get(tags.PHOTOMETRIC)), -1)
    if max(bits) > 8:
        raise Unexpected("more than 8 bits a channel")
    if photometric == _PALETTE and samples == 1:
        colours = file.numbers(page.get(tags.COLOUR_MAP))
        if any(c % 257 and c % 256 for c in colours):
            raise Unexpected("more than 8 bits a channel")
        return 3
    if tags.COLOUR_MAP in page:
        raise Unexpected("container: a colour map beside colours")
    if bits != {8}:
        raise Unexpected("fewer than 8 bits a channel")
    if set(file.numbers(page.get(tags.SAMPLE_FORMAT))) - {1}:
        raise Unexpected("samples that are not whole numbers from 0")
    bands = _COLOURS.get(photometric)
    extra = file.numbers(page.get(tags.EXTRA_SAMPLES))
    if bands is None:
        raise Unexpected("colours of an unknown kind")
    if (samples, extra) not in ((bands, ()), (bands + 1, (2,))):
        raise Unexpected("extra bands")
    return samples


def mark_pixels(file: TiffFile, page: dict[int, Entry]) -> None:
    """Mark the bytes of the pixels as accounted for.

    Raises:
        Unexpected: when their places and lengths do not match, and for a JPEG that is not the pixels.
    """
    compression = file.numbers(page.get(tags.COMPRESSION))[:1]
    old, tables = tags.OLD_JPEG & set(page), tags.JPEG_TABLES in page
    if (old and compression != _OLD_JPEG) or (tables and compression != _JPEG):
        raise Unexpected("container: a JPEG beside the pixels")
    file.ranges += _pieces(file, page)


def _pieces(file: TiffFile, page: dict[int, Entry]) -> list[tuple[int, int]]:
    """Where each piece of the pixels starts and ends."""
    found = list[tuple[int, int]]()
    for at_tag, size_tag in (
        (tags.STRIP_OFFSETS, tags.STRIP_BYTES),
        (tags.TILE_OFFSETS, tags.TILE_BYTES),
        (tags.JPEG_AT, tags.JPEG_BYTES),
    ):
        places, sizes = file.numbers(page.get(at_tag)), file.numbers(page.get(size_tag))
        if len(places) != len(sizes):
            raise Unexpected("container: strips or tiles without lengths")
        found += [(at, at + size) for at, size in zip(places, sizes, strict=True)]
    return found


def _check_jpegs(file: TiffFile, page: dict[int, Entry]) -> None:
    """Check that the JPEGs which hold the pixels hold nothing else.

    Raises:
        Unexpected: for metadata in one of them, or bytes behind it.
    """
    compression = file.numbers(page.get(tags.COMPRESSION))[:1]
    if compression not in (_OLD_JPEG, _JPEG):
        return
    for start, end in _pieces(file, page):
        piece = file.source[start:end]
        if compression == _JPEG or piece.startswith(b"\xff\xd8"):  # strips of the old kind are parts of one JPEG
            jpeg.check_bare(piece)


def check_accounted(file: TiffFile) -> None:
    """Check that what has been read of a file is all of it.

    Raises:
        Unexpected: when more than a few bytes are left.
    """
    if len(file.unaccounted()) > _FEW_BYTES or file.source[max(end for _, end in file.ranges) :].strip(b"\0"):
        raise Unexpected("container: bytes that no tag refers to")


def carried_parts(
    file: TiffFile, page: dict[int, Entry], values: dict[Column, bytes], apart: frozenset[int] = frozenset()
) -> Iterator[Part]:
    """The page's tags that are not about storage, and those of the directories below it.

    Args:
        file: the file.
        page: its first directory.
        values: gets the values of the columns that the parts refer to.
        apart: further tags of the page to leave out.

    Raises:
        Unexpected: for a tag that is not carried.
    """
    return _parts(file, _PAGE, {tag: entry for tag, entry in page.items() if tag not in apart}, values)


def _parts(file: TiffFile, directory: int, entries: dict[int, Entry], values: dict[Column, bytes]) -> Iterator[Part]:
    nested = _NESTED.get(directory, ())
    for entry in entries.values():
        if directory == _PAGE and entry.tag in tags.STORAGE:
            continue
        if entry.tag in nested:
            places = file.numbers(entry)
            below, following = file.directory(places[0])
            if len(places) != 1 or following:
                raise Unexpected("container: a chain of EXIF directories")
            yield from _parts(file, entry.tag, below, values)
            continue
        if entry.tag not in _CARRIED[directory] or entry.kind == tags.POINTER:
            raise Unexpected("container: a maker note" if entry.tag == tags.MAKER_NOTE else "container: unknown tags")
        column = _COLUMNS.get(entry.tag) if directory == _PAGE else None
        piece: bytes | Copy = entry.data
        if column is not None and entry.kind in (1, 7):
            values[column], piece = entry.data, Copy(column, 0, len(entry.data))
        yield Part(_NAME.pack(directory, entry.tag, entry.kind), (piece,))


def directories(
    skeleton: Skeleton, columns: Columns, more: frozenset[int] = frozenset()
) -> tuple[str, dict[int, list[Entry]]]:
    """Byte order, and the tags of each directory.

    Args:
        skeleton: of a TIFF.
        columns: what it refers to.
        more: further tags that the page may have.

    Raises:
        ValueError: when the skeleton has anything else.
    """
    order, found = "<", dict[int, list[Entry]]()
    for part in skeleton.before:
        data = part.data(columns)
        if part.name == ORDER:
            order = "<" if data == b"II" else ">"
            continue
        try:
            directory, tag, kind = _NAME.unpack(part.name)
        except struct.error:
            raise ValueError("the skeleton has a part that is no tag") from None
        allowed = tag in _CARRIED.get(directory, ()) or (directory == _PAGE and tag in more)
        if not allowed or kind not in _WRITTEN or len(data) % tags.TYPE_BYTES[kind]:
            raise ValueError(f"the skeleton has a tag {tag} that is not carried")
        found.setdefault(directory, []).append(Entry(tag, kind, data))
    return order, found
