r"""The parts of an image file beside its pixels.

`icc`, `exif` and `xmp` are columns of the archive. A part that holds one of them refers to the
column, so that its bytes are stored once:

    Part(b"\\xe1", (b"Exif\\0\\0", Copy(Column.EXIF, 6, 5210)))     an APP1 segment of a JPEG
    Part(b"tEXt", (b"Author\\0Ada",))                             a chunk of a PNG
"""

from dataclasses import dataclass, field
from enum import IntEnum


class Unexpected(Exception):
    """A file holds something that is not carried; its text is the reason why the file is kept."""


class Column(IntEnum):
    """The columns that hold parts of a file by themselves."""

    ICC = 1
    EXIF = 2
    XMP = 3


@dataclass(frozen=True, slots=True)
class Copy:
    """A range of a column's bytes."""

    column: Column
    start: int
    length: int


Piece = bytes | Copy


@dataclass(frozen=True, slots=True)
class Part:
    """One segment, chunk or tag.

    Attributes:
        name: as the format names it: a JPEG's marker, a chunk's type ...
        pieces: its content, in order.
    """

    name: bytes
    pieces: tuple[Piece, ...]

    def data(self, columns: "Columns") -> bytes:
        """Its content.

        Raises:
            ValueError: when a piece refers to bytes that its column does not have.
        """
        return b"".join(piece if isinstance(piece, bytes) else columns.range(piece) for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Columns:
    """The values of the columns that parts refer to; empty for none."""

    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""

    def range(self, copy: Copy) -> bytes:
        """The bytes that a piece refers to.

        Raises:
            ValueError: when the column does not have them.
        """
        data = {Column.ICC: self.icc, Column.EXIF: self.exif, Column.XMP: self.xmp}[copy.column]
        found = data[copy.start : copy.start + copy.length]
        if len(found) != copy.length:
            raise ValueError(f"the skeleton refers to {copy.length} bytes that {copy.column.name} does not have")
        return found


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Everything that a file holds beside its pixels and their storage.

    Attributes:
        form: the format that it is written into: "jpeg", "png", "webp" or "tiff".
        before: parts before the pixels, in order.
        after: parts after them.
        behind: bytes behind the end of the image.
    """

    form: str
    before: tuple[Part, ...] = ()
    after: tuple[Part, ...] = ()
    behind: bytes = b""


@dataclass(frozen=True, slots=True)
class Contents:
    """A file without its pixels.

    Attributes:
        width: in pixels, as stored: no orientation is applied.
        height: in pixels.
        bands: samples per pixel after a palette is looked up, alpha included.
        skeleton: everything else.
        columns: what the skeleton refers to.
    """

    width: int
    height: int
    bands: int
    skeleton: Skeleton
    columns: Columns = field(default_factory=Columns)
