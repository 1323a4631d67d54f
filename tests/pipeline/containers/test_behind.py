"""What gives its own place behind an image keeps the file, as the image comes back with another length."""

import io
import struct
import zipfile

import pytest

from tests.pipeline.containers.files import RGB, behind_iend, encoded, jpeg, restored, why_kept


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_archive_that_was_made_for_the_file_keeps_it(kind: str) -> None:
    """Python's zipfile and `zip -A` count places from the start of the file; plain concatenation does not."""
    image = encoded(RGB, kind)
    made = io.BytesIO(image)
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr("diary.txt", "dear diary")
    assert "give their place" in why_kept(made.getvalue())
    alone = io.BytesIO()
    with zipfile.ZipFile(alone, "w") as archive:
        archive.writestr("diary.txt", "dear diary")
    back = restored(image + alone.getvalue())
    assert back.endswith(alone.getvalue()) and zipfile.ZipFile(io.BytesIO(back)).read("diary.txt") == b"dear diary"


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_trailer_that_names_its_start_keeps_the_file(order: str) -> None:
    """As AFCP does, in which news agencies keep captions."""
    image = encoded(RGB, "JPEG")
    assert "give their place" in why_kept(image + b"AXS!captions AXS!" + struct.pack(order + "II", len(image), 0))


def test_an_archive_behind_padding_keeps_the_file_as_well() -> None:
    image = encoded(RGB, "PNG") + bytes(16)
    made = io.BytesIO(image)
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr("diary.txt", "dear diary")
    assert "give their place" in why_kept(made.getvalue())
    assert behind_iend(restored(image)) == bytes(16)


def test_small_numbers_are_no_places_in_the_file_of_one_pixel_with_which_an_encode_checks_itself() -> None:
    numbers = b"".join(struct.pack(">I", number) for number in range(4, 900))
    assert restored(encoded(RGB, "PNG") + numbers).endswith(numbers)
    numbers = b"".join(struct.pack(">I", number) for number in range(7_800, 9_800))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + numbers
    image = jpeg([(0xE1, exif)], bytes(8) + encoded(RGB.resize((8, 8)), "JPEG"), RGB.resize((600, 400)))
    assert restored(image).endswith(image[-300:])
