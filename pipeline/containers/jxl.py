"""JPEG XL: a file with one still image of 8 bits in sRGB, with EXIF and XMP; anything else is not carried.

It is written as a PNG, so the skeleton is that of a PNG. The header is read up to the table of
contents (ISO/IEC 18181-1, annexes D, F and H), whose sum has to end at the end of the file: so
there is exactly one frame, with nothing behind it.
"""

import math
from dataclasses import dataclass

from pipeline.containers.boxes import boxes
from pipeline.containers.contents import Columns, Contents, Part, Skeleton, Unexpected
from pipeline.containers.png.png import EXIF_PREFIX, exif_part, xmp_part

START = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_BOXES = frozenset({b"JXL ", b"ftyp", b"jxll", b"jxlc", b"jxlp", b"Exif", b"xml "})
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SIDES = ((9, 1), (13, 1), (18, 1), (30, 1))
_ENUM = ((0, 0), (0, 1), (4, 2), (6, 18))
_UPRIGHT = 1
_SRGB = (1, 1, 0, 13, 1)
"""White point D65, primaries, no gamma, transfer function, relative intent."""


class _Bits:
    """Reads bits, the least significant of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def take(self, count: int) -> int:
        """An integer of this number of bits."""
        first, last = self.at >> 3, (self.at + count + 7) >> 3
        if last > len(self._data):
            raise Unexpected("container: cut short")
        value = int.from_bytes(self._data[first:last], "little") >> (self.at & 7)
        self.at += count
        return value & ((1 << count) - 1)

    def u32(self, kinds: tuple[tuple[int, int], ...]) -> int:
        """A number in one of four ranges, each given by bits and offset."""
        bits, offset = kinds[self.take(2)]
        return offset + self.take(bits)

    def align(self) -> int:
        """Go to the next whole byte. Returns its place."""
        self.at = (self.at + 7) & ~7
        return self.at >> 3


@dataclass(frozen=True, slots=True)
class _Header:
    width: int
    height: int
    bands: int
    is_xyb: bool


def codestream(source: bytes) -> tuple[bytes, bytes, bytes]:
    """The coded image, EXIF and XMP of a file.

    Raises:
        Unexpected: for boxes of another kind.
    """
    if source.startswith(START):
        return source, b"", b""
    found = list(boxes(source))
    kinds = [box.kind for box in found]
    if b"jbrd" in kinds:
        raise Unexpected("a JPEG in JPEG XL")
    if set(kinds) - _BOXES or any(kinds.count(kind) > 1 for kind in _BOXES - {b"jxlp"}):
        raise Unexpected("container: an unknown box")
    whole = [box.data for box in found if box.kind == b"jxlc"]
    parts = [box.data[4:] for box in found if box.kind == b"jxlp"]
    exif = b"".join(box.data for box in found if box.kind == b"Exif")
    if len(whole) + bool(parts) != 1 or exif[:4].strip(b"\0") or _turns(exif):
        raise Unexpected("container: EXIF that cannot be read" if exif else "container: no image")
    exif = EXIF_PREFIX + exif[4:] if exif else b""
    return b"".join(whole + parts), exif, b"".join(box.data for box in found if box.kind == b"xml ")


def _turns(exif: bytes) -> bool:
    """Whether EXIF gives an orientation other than upright, which readers of JPEG XL ignore."""
    for entry in (b"\x12\x01\x03\0\x01\0\0\0", b"\x01\x12\0\x03\0\0\0\x01"):
        at = exif.find(entry)
        if at >= 0 and exif[at + 8 : at + 10].strip(b"\0") != bytes([_UPRIGHT]):
            return True
    return False


def size_of(source: bytes) -> tuple[int, int]:
    """Width and height, of any JPEG XL file."""
    if source.startswith(START):
        return _size(_Bits(source[2:40]))
    for box in boxes(source):
        if box.kind in (b"jxlc", b"jxlp"):
            return _size(_Bits(box.data[2 if box.kind == b"jxlc" else 6 :][:40]))
    raise Unexpected("container: no image")


def read(source: bytes) -> Contents:
    """A JPEG XL without its pixels.

    Raises:
        Unexpected: when it holds something that is not carried.
    """
    coded, exif, xmp = codestream(source)
    if not coded.startswith(START):
        raise Unexpected("container: no image")
    bits = _Bits(coded[2:])
    header = _header(bits)
    start = bits.align()
    _check_frame(_Bits(coded[2 + start :]), header, len(coded) - 2 - start)
    parts = list[Part]([exif_part(exif)] if exif else [])
    parts += [xmp_part(len(xmp))] if xmp else []
    return Contents(header.width, header.height, header.bands, Skeleton("png", tuple(parts)), Columns(b"", exif, xmp))


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)
    height = 8 * (1 + bits.take(5)) if small else bits.u32(_SIDES)
    if ratio := bits.take(3):
        over, under = _RATIOS[ratio - 1]
        return height * over // under, height
    return (8 * (1 + bits.take(5)) if small else bits.u32(_SIDES)), height


def _header(bits: _Bits) -> _Header:
    """Size and kind of the image.

    Raises:
        Unexpected: for anything but a still, upright picture of 8 bits in sRGB.
    """
    width, height = _size(bits)
    if bits.take(1):  # all values are the default
        _require(bits.take(1), "container: a transform of its own")
        return _Header(width, height, 3, is_xyb=True)
    more = bits.take(1)
    if more:
        _require(bits.take(3) == 0, "rotated JPEG XL")
        _require(not bits.take(1), "container: another size")
        _require(not bits.take(1), "container: a preview")
        _require(not bits.take(1), "several frames or pages")
    _require(not bits.take(1) and bits.u32(((0, 8), (0, 10), (0, 12), (6, 1))) == 8, "more than 8 bits a channel")
    bits.take(1)  # whether 16 bits are enough to decode it
    extra = bits.u32(((0, 0), (0, 1), (4, 2), (12, 1)))
    _require(extra <= 1 and (not extra or bits.take(1)), "extra bands")  # alpha of 8 bits is the default
    is_xyb = bool(bits.take(1))
    grey = False
    if not bits.take(1):
        _require(not bits.take(1), "colours of an unknown kind")  # an ICC profile
        space = bits.u32(_ENUM)
        grey = space == 1
        found = [bits.u32(_ENUM), 1 if grey else bits.u32(_ENUM), bits.take(1)]
        if not found[2]:
            found += [bits.u32(_ENUM), bits.u32(_ENUM)]
        _require(space in (0, 1) and tuple(found) == _SRGB, "colours of an unknown kind")
    _require(not more or bits.take(1), "colours of an unknown kind")  # HDR
    _require(bits.take(2) == 0, "container: an extension")
    _require(bits.take(1), "container: a transform of its own")
    return _Header(width, height, (1 if grey else 3) + extra, is_xyb)


def _check_frame(bits: _Bits, header: _Header, length: int) -> None:
    """Check that the first frame is the only one, and ends at the end.

    Args:
        bits: from the start of the frame.
        header: of the image.
        length: bytes from there to the end.

    Raises:
        Unexpected: when it is not, or holds what only layers, animations and patches have.
    """
    modular, shift = False, 1
    if not bits.take(1):
        _require(bits.take(2) == 0, "container: frames of another kind")
        modular = bool(bits.take(1))
        _flags(bits)
        _require(header.is_xyb or not bits.take(1), "a JPEG in JPEG XL")  # YCbCr
        scales = 1 + (header.bands in (2, 4))
        _require(all(bits.take(2) == 0 for _ in range(scales)), "container: another size")
        if modular:
            shift = bits.take(2)
        elif header.is_xyb:
            bits.take(6)
        _require(bits.take(2) == 0, "container: several passes")
        _require(not bits.take(1), "container: another size")
        _require(all(bits.take(2) == 0 for _ in range(scales)), "container: layers")
        _require(bits.take(1), "several frames or pages")
        _require(bits.take(2) == 0, "container: layers")  # with a name
        _filter(bits, modular)
        _require(bits.take(2) == 0, "container: an extension")
    group = 128 << shift if modular else 256
    groups, coarse = (math.ceil(header.width / side) * math.ceil(header.height / side) for side in (group, 8 * group))
    _require(not bits.take(1), "container: sections in another order")
    bits.align()
    sections = 1 if groups == 1 else 2 + coarse + groups
    _require(sections <= 8 * length, "container: cut short")
    sizes = [bits.u32(((10, 0), (14, 1024), (22, 17408), (30, 4211712))) for _ in range(sections)]
    _require(bits.align() + sum(sizes) == length, "container: bytes behind the end")


def _flags(bits: _Bits) -> None:
    """Noise, patches, splines: how pixels are stored. Not another frame's."""
    kind = bits.take(2)
    flags = {0: 0, 1: 1, 2: 17}.get(kind, 1 << 20) + bits.take({1: 4, 2: 8}.get(kind, 0))
    _require(not flags & ~0x93, "container: frames of another kind")


def _filter(bits: _Bits, modular: bool) -> None:
    """The filter after decoding, of which only plain kinds are read.

    Raises:
        Unexpected: for others.
    """
    if bits.take(1):
        return
    plain = not (bits.take(1) and bits.take(1))
    if bits.take(2):
        plain = plain and (modular or not bits.take(1)) and not bits.take(1) and not bits.take(1)
        bits.take(16 if modular else 0)
    _require(plain and bits.take(2) == 0, "container: a filter of its own")


def _require(sound: object, reason: str) -> None:
    if not sound:
        raise Unexpected(reason)
