"""What a file holds beside its pixels, when it is written in another format than its source's.

Each format has its own places: a comment of a JPEG is a text chunk of a PNG. What has no place is
named, never dropped in silence.

    | fact               | JPEG             | PNG                    | TIFF             | WebP, AVIF, JPEG XL |
    |--------------------|------------------|------------------------|------------------|---------------------|
    | ICC, EXIF, XMP     | APP2, APP1, APP1 | iCCP, eXIf, iTXt       | their tags       | their chunks, boxes |
    | density            | JFIF             | pHYs                   | resolution tags  | EXIF, if that is none |
    | IPTC (Photoshop)   | APP13            | raw profile, as text   | 34377 and 33723  | -                   |
    | comments, texts    | COM              | tEXt, iTXt             | -                | -                   |

JPEG XL is written as a transcode of a JPEG, and holds what that holds.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from pipeline.containers.contents import Columns, Copy, Part, Skeleton
from pipeline.containers.jpeg.quantisation import QUANTISATION
from pipeline.containers.png import png
from pipeline.containers.tiff.tags import CARRIED_IN_EXIF, CARRIED_IN_GPS, CARRIED_IN_INTEROPERABILITY

INCH, CENTIMETRE, RATIO = "inch", "cm", "ratio"
_PHOTOSHOP = b"Photoshop 3.0\0"
_IPTC = b"8BIM\x04\x04\0\0"
_IN_EXIF = frozenset({270, 271, 272, 274, 305, 306, 315, 33432})
"""Tags of a TIFF's page that are in the EXIF column; see `pipeline.images.formats.tiff_exif`."""
_OF_NO_INTEREST = frozenset({254, 255, 269, 297})
_SRGB = bytes([1, 13, 0, 1])
_LONGEST_COMMENT = 65533


@dataclass(frozen=True, slots=True)
class Density:
    """Pixels per unit, across and down."""

    x: Fraction
    y: Fraction
    unit: str

    def to(self, unit: str) -> "Density":
        """The same in another unit; a ratio of sides has none."""
        if RATIO in (self.unit, unit) or self.unit == unit:
            return self
        factor = Fraction(100, 254) if unit == CENTIMETRE else Fraction(254, 100)
        return Density(self.x * factor, self.y * factor, unit)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a skeleton holds that is no column, whatever its format.

    Attributes:
        density: None where it says nothing.
        photoshop: image resource blocks, IPTC captions among them.
        texts: keyword and text.
        colour: whether it tags colours otherwise than sRGB, beside or without a profile.
        others: names of everything else.
    """

    density: Density | None = None
    photoshop: bytes = b""
    texts: tuple[tuple[str, str], ...] = ()
    colour: bool = False
    others: tuple[str, ...] = ()


def facts_of(skeleton: Skeleton, columns: Columns) -> Facts:
    """The facts of a skeleton.

    Raises:
        ValueError: when a part refers to bytes that its column does not have.
    """
    read = {"jpeg": _jpeg, "png": _png, "tiff": _tiff, "webp": _webp}[skeleton.form]
    facts, others = Facts(_density_of_tiff(skeleton, columns) if skeleton.form == "tiff" else None), list[str]()
    parts = (*skeleton.before, *skeleton.after)
    named = bool(columns.icc) or any(part.name == b"sRGB" for part in parts)
    for part in parts:
        if named and part.name in (b"gAMA", b"cHRM"):
            continue  # a profile and the sRGB chunk go before them
        found = read(part, part.data(columns), facts)
        if isinstance(found, Facts):
            facts = found
        elif found:
            others.append(found)
    others += ["bytes behind the end"] if skeleton.behind else []
    return replace(facts, others=tuple(dict.fromkeys(others)))


def lost_in(form: str, facts: Facts, *, exif: bool) -> tuple[str, ...]:
    """Names of what a format has no place for.

    Args:
        form: "jpeg", "jxl", "png", "tiff", "webp" or "avif".
        facts: of the source's file.
        exif: whether there is an EXIF block, which then says the density, or does not.
    """
    lost = list(facts.others)
    if form in ("webp", "avif"):
        lost += ["density"] if facts.density and exif else []
        lost += ["IPTC captions"] if facts.photoshop else []
    if form in ("webp", "avif", "tiff"):
        lost += ["comments and texts"] if facts.texts else []
    if form in ("jpeg", "jxl"):
        long = any(len(f"{keyword}: {text}".encode()) > _LONGEST_COMMENT for keyword, text in facts.texts)
        lost += ["comments and texts"] if long else []
        lost += ["IPTC captions"] if len(facts.photoshop) + len(_PHOTOSHOP) > _LONGEST_COMMENT else []
    return tuple(lost)


def jpeg_parts(facts: Facts) -> tuple[bytes, list[Part]]:
    """The content of a JFIF segment, and the segments beside it."""
    unit, x, y = 0, 1, 1
    if facts.density:
        unit = {RATIO: 0, INCH: 1, CENTIMETRE: 2}[facts.density.unit]
        x, y = (min(65535, max(1, round(value))) for value in (facts.density.x, facts.density.y))
    parts = list[Part]()
    if 0 < len(facts.photoshop) <= _LONGEST_COMMENT - len(_PHOTOSHOP):
        parts.append(Part(b"\xed", (_PHOTOSHOP + facts.photoshop,)))
    for keyword, text in facts.texts:
        data = (text if keyword == "Comment" else f"{keyword}: {text}").encode()
        parts += [Part(b"\xfe", (data,))] if len(data) <= _LONGEST_COMMENT else []
    return b"JFIF\0\x01\x01" + struct.pack(">BHH", unit, x, y) + b"\0\0", parts


def png_parts(facts: Facts) -> list[Part]:
    """The chunks beside those of the columns."""
    parts = list[Part]()
    if facts.density:
        density = facts.density.to(CENTIMETRE)
        scale = 1 if density.unit == RATIO else 100
        sides = (min((1 << 31) - 1, max(1, round(scale * value))) for value in (density.x, density.y))
        parts.append(Part(b"pHYs", (struct.pack(">IIB", *sides, density.unit != RATIO),)))
    if facts.photoshop:  # as ImageMagick and exiftool write and read it
        text = f"\n8bim\n{len(facts.photoshop):8d}\n{facts.photoshop.hex()}\n".encode()
        parts.append(Part(b"zTXt", (b"Raw profile type 8bim\0\0" + zlib.compress(text),)))
    return [*parts, *(png.text_part(keyword, text) for keyword, text in facts.texts)]


def tiff_tags(facts: Facts) -> dict[int, bytes]:
    """The tags of Photoshop's resources and of IPTC."""
    iptc = _iptc(facts.photoshop)
    return ({34377: facts.photoshop} if facts.photoshop else {}) | ({33723: iptc} if iptc else {})


def exif_with(density: Density) -> bytes:
    """An EXIF block that holds a density and nothing else."""
    unit = {RATIO: 1, INCH: 2, CENTIMETRE: 3}[density.unit]
    sides = b"".join(struct.pack(">II", *_rational(value)) for value in (density.x, density.y))
    entries = struct.pack(">HHII", 282, 5, 1, 50) + struct.pack(">HHII", 283, 5, 1, 58)
    entries += struct.pack(">HHIHH", 296, 3, 1, unit, 0)
    return b"Exif\0\0MM\0*\0\0\0\x08\0\x03" + entries + bytes(4) + sides


def _rational(value: Fraction) -> tuple[int, int]:
    close = value.limit_denominator(1 << 16)
    return min(close.numerator, (1 << 32) - 1), close.denominator


def _jpeg(part: Part, data: bytes, facts: Facts) -> Facts | str:
    if part.name == QUANTISATION:
        return ""
    marker, referring = part.name[0], any(isinstance(piece, Copy) for piece in part.pieces)
    if referring or marker == 0xEE or data.startswith(b"JFXX\0"):
        return "thumbnail" if data.startswith(b"JFXX\0") else ""
    if marker == 0xE0 and data.startswith(b"JFIF\0") and len(data) >= 14:
        unit, x, y = struct.unpack_from(">BHH", data, 7)
        if unit > 2 or not x or not y or (unit, x == y) == (0, True):
            return ""  # says nothing
        return replace(facts, density=Density(Fraction(x), Fraction(y), (RATIO, INCH, CENTIMETRE)[unit]))
    if marker == 0xED and data.startswith(_PHOTOSHOP):
        return replace(facts, photoshop=facts.photoshop + data[len(_PHOTOSHOP) :])
    if marker == 0xFE:
        return replace(facts, texts=(*facts.texts, ("Comment", data.decode("utf-8", "replace"))))
    if marker == 0xE2 and part.name[1:]:
        return "list of further images (MPF)"
    return "extended XMP" if data.startswith(b"http://ns.adobe.com/xmp/extension/") else f"segment APP{marker - 0xE0}"


def _png(part: Part, data: bytes, facts: Facts) -> Facts | str:
    match part.name:
        case b"iCCP" | b"eXIf" | b"sRGB" | b"sBIT" | b"bKGD":
            return ""
        case b"pHYs" if len(data) == 9:
            x, y, metre = struct.unpack(">IIB", data)
            if not x or not y or (not metre and x == y):
                return ""
            unit, scale = (CENTIMETRE, 100) if metre else (RATIO, 1)
            return replace(facts, density=Density(Fraction(x, scale), Fraction(y, scale), unit))
        case b"cICP":
            return replace(facts, colour=facts.colour or data[:2] != _SRGB[:2])
        case b"gAMA":  # sRGB's approximation, which encoders write by default, means nothing more
            return replace(facts, colour=facts.colour or data != struct.pack(">I", 45455))
        case b"cHRM":
            srgb = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
            return replace(facts, colour=facts.colour or data != srgb)
        case b"tEXt" | b"zTXt" | b"iTXt":
            return _text(part, data, facts)
    return f"chunk {part.name.decode('latin-1')}"


def _text(part: Part, data: bytes, facts: Facts) -> Facts | str:
    keyword, _, rest = data.partition(b"\0")
    if data.startswith(png.XMP_KEYWORD):
        return ""
    try:
        if part.name == b"zTXt":
            text = zlib.decompress(rest[1:]).decode("latin-1")
        elif part.name == b"tEXt":
            text = rest.decode("latin-1")
        else:
            body = rest[2:].split(b"\0", 2)[2]
            text = (zlib.decompress(body) if rest[0] else body).decode()
    except (zlib.error, ValueError, IndexError):
        return "a text that cannot be read"
    return replace(facts, texts=(*facts.texts, (keyword.decode("latin-1"), text)))


def _webp(part: Part, data: bytes, facts: Facts) -> Facts | str:
    known = part.name in (b"ICCP", b"EXIF", b"XMP ")
    return "" if known else f"chunk {part.name.decode('latin-1').strip()}"


def _tiff(part: Part, data: bytes, facts: Facts) -> Facts | str:
    if part.name == b"order":
        return ""
    directory, tag, _ = struct.unpack(">HHH", part.name)
    below = {34665: CARRIED_IN_EXIF, 34853: CARRIED_IN_GPS, 40965: CARRIED_IN_INTEROPERABILITY}
    if tag in below.get(directory, ()) or tag in _IN_EXIF | _OF_NO_INTEREST or tag in (700, 34675):
        return ""
    if tag == 34377:
        return replace(facts, photoshop=data)
    if tag == 33723:
        return facts if facts.photoshop else replace(facts, photoshop=_as_resource(data))
    # Resolution needs the file's byte order, which the first part gives: `_density_of_tiff`.
    return "" if tag in (282, 283, 296) else f"TIFF tag {tag}"


def _density_of_tiff(skeleton: Skeleton, columns: Columns) -> Density | None:
    """The density that a TIFF's tags give."""
    values, order = dict[int, bytes](), ">"
    for part in skeleton.before:
        data = part.data(columns)
        if part.name == b"order":
            order = "<" if data == b"II" else ">"
        elif struct.unpack(">HHH", part.name) in ((0, 282, 5), (0, 283, 5), (0, 296, 3)):
            values[struct.unpack(">HHH", part.name)[1]] = data
    try:
        (x, dx), (y, dy) = (struct.unpack(order + "II", values[tag]) for tag in (282, 283))
        (unit,) = struct.unpack(order + "H", values.get(296, struct.pack(order + "H", 2)))
        return Density(Fraction(x, dx), Fraction(y, dy), (RATIO, INCH, CENTIMETRE)[unit - 1]) if x and y else None
    except (KeyError, struct.error, ZeroDivisionError, IndexError):
        return None


def _blocks(photoshop: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and data of each image resource block, up to the first that is damaged."""
    at = 0
    while photoshop[at : at + 4] == b"8BIM" and at + 12 <= len(photoshop):
        (number,) = struct.unpack_from(">H", photoshop, at + 4)
        at += 6 + (photoshop[at + 6] + 2 & ~1)
        if at + 4 > len(photoshop):
            return
        (size,) = struct.unpack_from(">I", photoshop, at)
        yield number, photoshop[at + 4 : at + 4 + size]
        at += 4 + (size + 1 & ~1)


def _iptc(photoshop: bytes) -> bytes:
    return next((data for number, data in _blocks(photoshop) if number == 0x0404), b"")


def _as_resource(iptc: bytes) -> bytes:
    return _IPTC + struct.pack(">I", len(iptc)) + iptc + bytes(len(iptc) & 1)
