"""A skeleton as bytes comes back equal; bytes that are none are refused."""

import random

import pytest

from pipeline.containers.contents import Column, Columns, Copy, Part, Skeleton
from pipeline.containers.skeleton_bytes import pack, unpack

EXAMPLE = Skeleton(
    "jpeg",
    (Part(b"\xe0", (b"JFIF" * 40,)), Part(b"\xe1", (b"Exif\0\0", Copy(Column.EXIF, 6, 70_000)))),
    (Part(b"\xfe", (b"",)), Part(b"\xfe", ())),
    b"behind" * 50,
)


def any_skeleton(rng: random.Random) -> Skeleton:
    def part() -> Part:
        pieces = tuple(rng.randbytes(rng.randint(1, 300)) for _ in range(rng.randint(0, 3)))
        return Part(rng.randbytes(rng.randint(0, 8)), pieces)

    before, after = (tuple(part() for _ in range(rng.randint(0, 4))) for _ in range(2))
    return Skeleton(rng.choice(["png", "jpeg", "webp", "tiff"]), before, after, rng.randbytes(rng.randint(0, 300)))


def test_a_skeleton_comes_back() -> None:
    rng = random.Random(1)
    for _ in range(300):
        skeleton = any_skeleton(rng)
        assert unpack(pack(skeleton)) == skeleton


def test_copies_come_back_and_give_the_columns_bytes() -> None:
    back = unpack(pack(EXAMPLE))
    assert back.before == EXAMPLE.before and back.behind == EXAMPLE.behind
    exif = bytes(range(256)) * 300
    assert back.before[1].data(Columns(exif=exif)) == b"Exif\0\0" + exif[6:70_006]


def test_a_range_that_its_column_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="refers to 70000 bytes that EXIF does not have"):
        EXAMPLE.before[1].data(Columns(exif=bytes(100)))


def test_every_cut_and_every_added_byte_is_refused() -> None:
    data = pack(EXAMPLE)
    for end in range(len(data)):
        with pytest.raises(ValueError, match="skeleton"):
            unpack(data[:end])
    with pytest.raises(ValueError, match="skeleton"):
        unpack(data + b"\0")


def test_a_small_skeleton_describes_no_huge_file() -> None:
    many = Skeleton("png", tuple(Part(b"tEXt", (Copy(Column.ICC, 0, 1 << 20),)) for _ in range(1000)))
    with pytest.raises(ValueError, match="twice"):
        unpack(pack(many))


def test_damaged_bytes_are_a_skeleton_or_an_error_of_one_line() -> None:
    rng, refused = random.Random(2), 0
    for _ in range(3000):
        data = bytearray(pack(any_skeleton(rng) if rng.random() < 0.5 else EXAMPLE))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(min(len(data), 40))] = rng.randrange(256)
        try:
            pack(unpack(bytes(data)))
        except ValueError as e:
            refused += 1
            assert "\n" not in str(e)
    assert 500 < refused < 3000
