"""HEIC as a source: coded where everything comes back, else kept."""

import struct
from pathlib import Path

import numpy as np
import pytest

from pipeline.encode.stages import load
from pipeline.images.formats import heif
from pipeline.images.image_reader import read
from pipeline.images.image_writer import write_picture
from pipeline.images.limits import READING
from pipeline.images.reading import Reading
from pipeline.images.sandbox.sandbox import Sandbox, shared
from pipeline.storage.open import open_store
from tests.pipeline.containers import files
from tests.pipeline.containers.heic_file import HEIC

EXIF_TAG = b"Maker"


def test_a_plain_heic_is_coded_and_comes_back_as_a_png_with_its_metadata() -> None:
    reading = read(HEIC)
    assert isinstance(reading, Reading) and reading.picture is not None
    picture = reading.picture
    assert (reading.source_format, picture.pixels.shape, picture.alpha is not None) == ("heif", (48, 64, 3), True)
    assert EXIF_TAG in picture.exif
    # The file was made of x * 4 and y * 5 in the first two channels.
    assert abs(int(picture.pixels[24, 32, 0]) - 128) < 12 and abs(int(picture.pixels[24, 32, 1]) - 120) < 12
    back = write_picture(picture, "png")
    assert dict(files.chunks(back))[b"eXIf"].count(EXIF_TAG) == 1
    again = read(back)
    assert isinstance(again, Reading) and again.picture is not None
    assert np.array_equal(again.picture.pixels, picture.pixels)


def _replaced(old: bytes, new: bytes) -> bytes:
    assert HEIC.count(old) >= 1 and len(old) == len(new)
    return HEIC.replace(old, new)


CLAP = HEIC.index(b"clap") + 4
(HEIGHT,) = struct.unpack_from(">I", HEIC, CLAP + 8)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (_replaced(b"clap", b"irot"), "container: a property of the image that is not carried"),
        (
            HEIC[: CLAP + 8] + struct.pack(">I", HEIGHT - 8) + HEIC[CLAP + 12 :],
            "container: a property of the image that is not carried",
        ),
        (_replaced(b"urn:mpeg:hevc:2015:auxid:1", b"urn:mpeg:hevc:2015:auxid:2"), "container: a second image"),
        (HEIC + b"film", "container: bytes behind the end"),
    ],
)
def test_what_cannot_be_carried_keeps_the_file(source: bytes, reason: str) -> None:
    reading = read(source)
    assert not isinstance(reading, Reading) or str(reading.keep).startswith(reason)


def test_more_than_8_bits_are_kept() -> None:
    at = HEIC.index(b"hvcC") + 4
    deep = HEIC[: at + 17] + bytes([HEIC[at + 17] | 2]) + HEIC[at + 18 :]
    reading = read(deep)
    assert not isinstance(reading, Reading) or reading.keep == "more than 8 bits a channel"


def test_without_the_extra_it_is_kept_and_the_reason_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path))
    store.put("a.heic", HEIC)
    store.put("cut.heic", HEIC[:500])
    entries = list(store.entries())

    def reasons() -> list[str | None]:
        loaded = load(entries, store, shared(READING), 1 << 24, 1 << 24)
        return [item.reading.keep for item in loaded if hasattr(item, "reading")]

    assert reasons() == [None, "HEIC image that cannot be decoded"]
    monkeypatch.setattr(heif, "is_installed", lambda: False)
    monkeypatch.setattr(Sandbox, "read", lambda _, source, **options: read(source, **options))
    assert reasons() == ["HEIC image (maepress[heif] is not installed)"] * 2
