"""How finely a JPEG was stored: its quantisation tables and the sampling of its colours, as a part of its skeleton.

The pixels of a JPEG are sums of multiples of its tables' entries. Written with the same tables, a picture that was
decoded from an archive takes about as many bytes as its source and comes back closer to it; with finer ones it takes
more than twice as many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.containers.contents import Columns, Skeleton

QUANTISATION = b"\xdb"
"""Name of the part with the sampling of colour (a byte: horizontal << 4 | vertical) and the tables, 64 bytes each in
zigzag order: of luma and of chroma, or of each component if its two differ."""
_ENTRIES = 64
_ZIGZAG = tuple(
    8 * row + column
    for row, column in sorted(
        ((row, column) for row in range(8) for column in range(8)),
        key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]),
    )
)
"""Place in a table of 8 rows for each entry in zigzag order."""
_SAMPLINGS = {0x11: "4:4:4", 0x21: "4:2:2", 0x22: "4:2:0"}


_FINE = (
    bytes.fromhex(
        "0201010101010201010102020202020403020202020504040304060506060605"
        "060606070908060709070606080b08090a0a0a0a0a06080b0c0b0a0c090a0a0a"
    ),
    bytes.fromhex(
        "020202020202050303050a0706070a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"
        "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"
    ),
)
"""Tables of luma and chroma at libjpeg's quality 95, in zigzag order."""


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How finely a JPEG was stored.

    Attributes:
        sampling: "4:4:4", "4:2:2" or "4:2:0".
        tables: of luma, then of chroma; 64 entries of 1..255 each, in rows of 8.
    """

    sampling: str
    tables: tuple[tuple[int, ...], ...]


def quantisation_of(skeleton: Skeleton, bands: int) -> Quantisation | None:
    """How the source of a skeleton was stored; None if the skeleton does not say, or not for so many bands.

    Raises:
        ValueError: when the skeleton is damaged.
    """
    parts = [part for part in skeleton.before if part.name == QUANTISATION]
    if not parts:
        return None
    data = parts[0].data(Columns())
    count, rest = divmod(len(data) - 1, _ENTRIES)
    if len(parts) > 1 or rest or not 1 <= count <= 3 or data[0] not in _SAMPLINGS or 0 in data[1:]:
        raise ValueError("the skeleton is damaged: its quantisation tables are none of a JPEG")
    if (count > 1) != (bands == 3):
        return None
    tables = []
    for number in range(count):
        table = [0] * _ENTRIES
        for place, entry in zip(_ZIGZAG, data[1 + _ENTRIES * number :], strict=False):
            table[place] = entry
        tables.append(tuple(table))
    return Quantisation(_SAMPLINGS[data[0]], tuple(tables))


def tables_in(data: bytes) -> dict[int, bytes]:
    """The tables of 8 bits in a segment, by number; one of 16 bits is empty."""
    found, at = dict[int, bytes](), 0
    while at < len(data):
        wide, number = data[at] >> 4, data[at] & 15
        length = _ENTRIES << bool(wide)
        table = data[at + 1 : at + 1 + length]
        found[number] = b"" if wide or len(table) != length else table
        at += 1 + length
    return found


def described(components: Sequence[bytes], tables: Mapping[int, bytes], adobe_transform: bytes) -> bytes:
    """The content of the part; quality 95 without subsampling where a YCbCr JPEG cannot be stored in the same way.

    Args:
        components: of each of the 1 or 3 components in the frame header: number, sampling, number of its table.
        tables: by number, 64 entries in zigzag order.
        adobe_transform: of Adobe's segment; empty without one.
    """
    coloured = len(components) == 3
    sampling = components[0][1] if coloured else 0x11
    chosen = [tables.get(one[2], b"") for one in components]
    usual = sampling in _SAMPLINGS and all(len(table) == _ENTRIES and 0 not in table for table in chosen)
    if coloured:
        usual &= bytes(one[0] for one in components) != b"RGB" and adobe_transform != b"\0"
        usual &= all(one[1] == 0x11 for one in components[1:])
    if not usual:
        return b"\x11" + b"".join(_FINE if coloured else _FINE[:1])
    if coloured and chosen[1] == chosen[2]:
        del chosen[2]
    return bytes([sampling]) + b"".join(chosen)
