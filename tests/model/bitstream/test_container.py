"""The container reads what was written, and rejects everything else."""

import struct

import google_crc32c
import numpy as np
import pytest

from model.bitstream import container
from model.bitstream.container import Colour, Header, Tag
from model.core.errors import DamagedPayload
from model.core.picture import MAX_SIDE

HEADER = Header("0123456789abcdef", 300, 1, 63, Colour.GREY, 2)
SECTIONS = {Tag.STREAM: b"stream", Tag.ALPHA: bytes(range(200)), Tag.EXIF: b"exif"}


def sealed(body: bytes) -> bytes:
    """A body with its checksum."""
    return body + struct.pack("<I", google_crc32c.value(body))


def test_header_and_sections_come_back() -> None:
    payload = container.write(HEADER, SECTIONS)
    assert container.read(payload) == (HEADER, SECTIONS)
    assert container.read_header(payload) == HEADER
    container.check(payload)


def test_any_header_comes_back() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        width, height = (int(rng.integers(1, 1 << int(rng.integers(1, 25)), endpoint=False)) for _ in range(2))
        header = Header(rng.bytes(8).hex(), width, height, int(rng.integers(64)), Colour(int(rng.integers(2))))
        sections = {tag: rng.bytes(int(rng.integers(1, 400))) for tag in Tag if tag and rng.integers(2)}
        assert container.read(container.write(header, sections)) == (header, sections)


def test_empty_sections_take_no_bytes() -> None:
    assert container.write(HEADER, {Tag.STREAM: b"", Tag.ICC: b""}) == container.write(HEADER, {})


def test_the_bytes_are_those_of_the_format() -> None:
    assert container.write(HEADER, {Tag.ESCAPES: b"abc"}).hex(" ") == (
        "4d 41 45 50 01 01 fe 01 23 45 67 89 ab cd ef ac 02 01 02 03 61 62 63 00 c7 c3 a0 41"
    )


def test_every_flipped_bit_is_noticed() -> None:
    payload = container.write(HEADER, SECTIONS)
    for bit in range(8 * len(payload)):
        changed = bytearray(payload)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedPayload):
            container.read(bytes(changed))


def test_every_truncation_and_every_added_byte_is_noticed() -> None:
    payload = container.write(HEADER, SECTIONS)
    for length in range(len(payload)):
        with pytest.raises(DamagedPayload):
            container.read(payload[:length])
    for more in (b"\x00", b"x", payload):
        with pytest.raises(DamagedPayload):
            container.read(payload + more)


def test_unknown_sections_above_127_are_skipped_and_below_refused() -> None:
    body = container.write(HEADER, SECTIONS)[:-5]
    header, sections = container.read(sealed(body + b"\xc8\x03new" + b"\x00"))
    assert header == HEADER
    assert {tag: sections[tag] for tag in SECTIONS} == SECTIONS
    with pytest.raises(DamagedPayload, match="sections"):
        container.read(sealed(body + b"\x08\x03new" + b"\x00"))


def test_a_section_that_is_repeated_or_exceeds_the_payload_is_refused() -> None:
    body = container.write(HEADER, SECTIONS)[:-5]
    repeated, too_long = b"\x81\x01x\x00", (b"\x83\x7fx\x00", b"\x83\xff\xff\xff\xff\xff\xff\x00")
    for more in (repeated, *too_long, b"", b"\x00\x00"):
        with pytest.raises(DamagedPayload):
            container.read(sealed(body + more))


def test_there_is_one_order_of_sections_and_no_empty_one() -> None:
    body = container.write(HEADER, SECTIONS)[:-5]
    assert container.read(sealed(body + b"\x83\x01x\x00"))[1][0x83] == b"x"
    for more in (b"\x04\x01x\x00", b"\x80\x01x\x00", b"\x83\x00\x00"):
        with pytest.raises(DamagedPayload, match="sections"):
            container.read(sealed(body + more))
    assert container.write(HEADER, dict(reversed(SECTIONS.items()))) == container.write(HEADER, SECTIONS)


def test_a_later_version_says_what_to_do() -> None:
    payload = bytearray(container.write(HEADER, {}))
    payload[4] = 2
    with pytest.raises(DamagedPayload, match=r"version 2.*reads 1: upgrade maepress"):
        container.read_header(bytes(payload))


def test_impossible_headers_are_refused() -> None:
    for header in (
        Header("00" * 8, MAX_SIDE + 1, 1, 0, Colour.RGB),
        Header("00" * 8, 1, 0, 0, Colour.RGB),
        Header("00" * 8, 1, 1, 0, 2),  # type: ignore[arg-type]
    ):
        with pytest.raises(DamagedPayload, match="header is damaged"):
            container.read(container.write(header, {}))


def test_other_files_are_told_from_payloads() -> None:
    for data in (b"", b"MAEP", b"\x89PNG\r\n\x1a\n" + bytes(100), b"\xff\xd8" * 40):
        with pytest.raises(DamagedPayload, match="not a maepress payload"):
            container.read(data)
