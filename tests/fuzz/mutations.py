"""Ways to corrupt a payload.

`case(seed, number, corpus)` always gives the same bytes, so that two numbers identify a finding.
Most mutations end with a new checksum; otherwise the reader would stop there, and the code after it
would not be tested.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import google_crc32c
import numpy as np

from model.bitstream import container
from model.bitstream.container import Tag

HUGE = (0, 1, 2, 255, 1 << 14, (1 << 24) - 1, 1 << 24, (1 << 24) + 1, (1 << 31) - 1, 1 << 35, (1 << 42) - 1)
Rng = np.random.Generator


def varint(n: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def sealed(body: bytes) -> bytes:
    """A body with its checksum."""
    return body + struct.pack("<I", google_crc32c.value(body))


@dataclass(slots=True)
class Parts:
    """The parts of a payload, to be changed and joined; the result need not be valid."""

    fixed: bytearray  # magic, version, colour kind, quality, fingerprint
    width: int
    height: int
    sections: list[tuple[int, bytes]]
    overstated: dict[int, int] = field(default_factory=dict)  # by position: how much longer a section claims to be

    @classmethod
    def of(cls, payload: bytes) -> "Parts":
        """An intact payload's parts."""
        header, sections = container.read(payload)
        return cls(bytearray(payload[:15]), header.width, header.height, list(sections.items()))

    def body(self) -> bytes:
        """All but the checksum."""
        written = [bytes(self.fixed), varint(self.width), varint(self.height)]
        for i, (tag, data) in enumerate(self.sections):
            written += [bytes([tag]), varint(len(data) + self.overstated.get(i, 0)), data]
        return b"".join([*written, b"\0"])

    def pick(self, rng: Rng) -> int:
        """Position of some section."""
        return int(rng.integers(len(self.sections)))

    def find(self, tag: int) -> int | None:
        """Position of a section."""
        return next((i for i, (t, _) in enumerate(self.sections) if t == tag), None)


# --- Mutations of bytes


def flip(data: bytes, rng: Rng) -> bytes:
    """Flip one to four bits."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if changed:
            changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(data: bytes, rng: Rng) -> bytes:
    """Truncate."""
    return data[: int(rng.integers(len(data) + 1))]


def insert(data: bytes, rng: Rng) -> bytes:
    """Insert bytes, random or all equal."""
    at, count = int(rng.integers(len(data) + 1)), int(rng.integers(1, 40))
    return data[:at] + (rng.bytes(count) if rng.integers(2) else bytes([int(rng.integers(256))]) * count) + data[at:]


def remove(data: bytes, rng: Rng) -> bytes:
    """Remove some bytes."""
    at = int(rng.integers(len(data) + 1))
    return data[:at] + data[at + int(rng.integers(1, 12)) :]


def replace(data: bytes, rng: Rng) -> bytes:
    """Replace by random bytes."""
    return rng.bytes(len(data))


def constant(data: bytes, rng: Rng) -> bytes:
    """Replace by equal bytes."""
    return bytes([int(rng.choice([0, 127, 128, 255]))]) * len(data)


def splice(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Join the beginning of one payload and the end of another."""
    return data[: int(rng.integers(len(data) + 1))] + other[int(rng.integers(len(other) + 1)) :]


PLAIN: tuple[Callable[[bytes, Rng], bytes], ...] = (flip, cut, insert, remove, replace, constant)


# --- Mutations of parts


def any_section(parts: Parts, rng: Rng) -> None:
    """Apply a mutation of bytes to a section."""
    i = parts.pick(rng)
    tag, data = parts.sections[i]
    parts.sections[i] = tag, PLAIN[int(rng.integers(len(PLAIN)))](data, rng)


def unpacked(parts: Parts, rng: Rng) -> None:
    """Unpack a zlib section, corrupt its content and pack it again."""
    found = [i for i, (tag, data) in enumerate(parts.sections) if tag in (Tag.ESCAPES, Tag.ALPHA) and data]
    if found:
        i = int(rng.choice(found))
        tag, data = parts.sections[i]
        try:
            plain = zlib.decompress(data[1:]) if tag == Tag.ALPHA or data[0] else data[1:]
        except zlib.error:  # corrupted before
            return
        corrupted = PLAIN[int(rng.integers(len(PLAIN)))](plain, rng)
        packed = tag == Tag.ALPHA or rng.integers(2)
        first = data[0] if tag == Tag.ALPHA else int(packed)
        parts.sections[i] = tag, bytes([first]) + (zlib.compress(corrupted, 9) if packed else corrupted)


def bomb(parts: Parts, rng: Rng) -> None:
    """Insert a few kB that unpack to many MB."""
    tag = int(rng.choice([Tag.ESCAPES, Tag.ALPHA]))
    data = bytes([int(rng.integers(1, 3))]) + zlib.compress(bytes([int(rng.choice([0, 1, 129]))]) * (1 << 23), 9)
    at = parts.find(tag)
    parts.sections[slice(at, at + 1) if at is not None else slice(0, 0)] = [(tag, data)]


def drop(parts: Parts, rng: Rng) -> None:
    """Remove a section."""
    del parts.sections[parts.pick(rng)]


def repeat(parts: Parts, rng: Rng) -> None:
    """Repeat a section."""
    parts.sections.insert(parts.pick(rng), parts.sections[parts.pick(rng)])


def swap(parts: Parts, rng: Rng) -> None:
    """Exchange the contents of two sections."""
    i, j = parts.pick(rng), parts.pick(rng)
    (a, x), (b, y) = parts.sections[i], parts.sections[j]
    parts.sections[i], parts.sections[j] = (a, y), (b, x)


def rename(parts: Parts, rng: Rng) -> None:
    """Change the tag of a section."""
    i = parts.pick(rng)
    parts.sections[i] = int(rng.integers(1, 12) if rng.integers(2) else rng.integers(256)), parts.sections[i][1]


def invent(parts: Parts, rng: Rng) -> None:
    """Add a section of random bytes."""
    parts.sections.append((int(rng.integers(1, 6)), rng.bytes(int(rng.integers(0, 80)))))


def relane(parts: Parts, rng: Rng) -> None:
    """Change the number of lanes, with states for them."""
    at = parts.find(Tag.STREAM)
    if at is not None:
        exponent, data = int(rng.integers(0, 7)), parts.sections[at][1]
        parts.sections[at] = Tag.STREAM, bytes([exponent]) + (data[1:9] * 64)[: 8 << exponent] + data[9:]


def lengthen(parts: Parts, rng: Rng) -> None:
    """Overstate the length of a section."""
    parts.overstated[parts.pick(rng)] = int(rng.choice(HUGE) if rng.integers(2) else rng.integers(1, 64))


def header(parts: Parts, rng: Rng) -> None:
    """Change a byte of the header, sometimes of the fingerprint."""
    at = int(rng.integers(4, 7)) if rng.integers(8) else int(rng.integers(15))
    parts.fixed[at] = int(rng.integers(256) if rng.integers(2) else rng.integers(70))


def resize(parts: Parts, rng: Rng) -> None:
    """Change width or height, slightly or to an extreme."""
    sizes = [parts.width, parts.height]
    i = int(rng.integers(2))
    kind = int(rng.integers(3))
    sizes[i] = int((rng.choice(HUGE), rng.integers(1, 600), max(0, sizes[i] + int(rng.integers(-20, 21))))[kind])
    parts.width, parts.height = sizes


def enlarge(parts: Parts, rng: Rng) -> None:
    """Enlarge the image and lengthen the stream accordingly."""
    at = parts.find(Tag.STREAM)
    if at is not None:
        words = int(rng.integers(1, 60))
        parts.sections[at] = Tag.STREAM, parts.sections[at][1] + rng.bytes(4 * words)
        parts.width *= int(rng.integers(1, 6))
        parts.height *= int(rng.integers(1, 6))


OF_PARTS: tuple[Callable[[Parts, Rng], None], ...] = (
    *(any_section,) * 6,
    *(unpacked,) * 3,
    *(resize,) * 2,
    *(enlarge,) * 2,
    bomb,
    drop,
    repeat,
    swap,
    rename,
    invent,
    relane,
    lengthen,
    header,
)


def case(seed: int, number: int, corpus: Sequence[bytes], invent_one: Callable[[Rng], bytes]) -> bytes:
    """The corrupted payload of that number.

    Args:
        seed: of the whole run.
        number: of this case.
        corpus: intact payloads.
        invent_one: gives a valid payload of arbitrary integers.
    """
    rng = np.random.default_rng([seed, number])
    payload, other = (corpus[int(rng.integers(len(corpus)))] for _ in range(2))
    kind = int(rng.integers(10))
    if kind >= 8:
        payload = invent_one(rng)
        if rng.integers(2):
            return payload
    if kind == 0:  # the old checksum
        return PLAIN[int(rng.integers(len(PLAIN)))](payload, rng)
    if kind == 1:
        body = splice(payload, other, rng)
        return body if rng.integers(2) else sealed(body[:-4])
    if kind == 2:
        return sealed(PLAIN[int(rng.integers(len(PLAIN)))](payload[:-4], rng))
    parts = Parts.of(payload)
    if rng.integers(3) and (at := parts.find(Tag.NUMBERS)) is not None:
        del parts.sections[at]  # the checksum of the integers, which is checked before synthesis
    for _ in range(int(rng.integers(1, 3))):
        if parts.sections:
            OF_PARTS[int(rng.integers(len(OF_PARTS)))](parts, rng)
    if rng.integers(8):  # otherwise most readers would stop at the order of the sections
        parts.sections.sort(key=lambda section: section[0])
    return sealed(parts.body())
