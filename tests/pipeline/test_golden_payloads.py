"""Golden payloads of rows that are no latents, and a golden skeleton, are read as when version 1 became final.

The files in `tests/expected/version-1` never change: see `tests/model/test_golden.py`. They were made by
`python -m tests.pipeline.test_golden_payloads`.
"""

import hashlib
import io
import json

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from model.bitstream.container import Colour
from pipeline.archive import standard_payload
from pipeline.containers.contents import Column, Copy, Part, Skeleton
from pipeline.containers.skeleton_bytes import pack, unpack
from pipeline.images.formats.lossless_pixels import digest_of, from_pixels, to_pixels
from tests.conftest import photo_like
from tests.expected.make import FOLDER, new_file
from tests.pipeline.making import image_file

RECORD = FOLDER / "payloads.json"
SKELETONS = {
    "jpeg": Skeleton(
        "jpeg",
        (Part(b"\xe0", (b"JFIF\0\1\2\0\0\1\0\1\0\0",)), Part(b"\xe1", (b"Exif\0\0", Copy(Column.EXIF, 6, 70_000)))),
        (Part(b"\xfe", (b"a comment",)), Part(b"DB", ())),
        b"behind the end",
    ),
    "png": Skeleton("png", (Part(b"iCCP", (b"name\0", Copy(Column.ICC, 0, 300))),), (Part(b"tEXt", (b"a\0b",)),), b""),
    "webp": Skeleton("webp", (), (Part(b"XMP ", (Copy(Column.XMP, 0, 1),)),), b""),
    "tiff": Skeleton("tiff", (Part(b"order", (b"MM",)), Part(b"\0\0\x01\x0e\0\x02", (b"text\0",))), (), b"\0" * 200),
}


def sources() -> dict[str, bytes]:
    """Files whose samples are kept."""
    deep = photo_like(40, 56).astype(np.uint16) * 257 + 3
    palette = Image.fromarray(photo_like(32, 48)).quantize(40)
    with io.BytesIO() as file:
        palette.save(file, "PNG", compress_level=0)
        indexed = file.getvalue()
    return {
        "pixels-deep-png": bytes(imagecodecs.png_encode(deep, level=1)),
        "pixels-palette-png": indexed,
        "pixels-deep-tiff": bytes(imagecodecs.tiff_encode(deep)),
        "pixels-float-tiff": bytes(imagecodecs.tiff_encode(np.indices((96, 96)).sum(0).astype(np.float32) / 255)),
    }


def facts(payload: bytes) -> str | None:
    """SHA-256 of samples and skeleton of the file that a payload gives."""
    digest = digest_of(from_pixels(payload))
    return digest.hex() if digest else None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make() -> None:
    """Write the files, none of which may be there."""
    record: dict[str, str | None] = {}
    for name, source in sources().items():
        payload = to_pixels(source)
        assert payload is not None, name
        new_file(FOLDER / f"{name}.jxl", payload)
        record[name] = facts(payload)
    alpha = (np.indices((29, 45)).sum(0) * 3).astype(np.uint8)
    for kind in ("WEBP", "AVIF"):
        file = image_file(kind)
        for name, plane, colour in ((kind.lower(), None, Colour.RGB), (f"{kind.lower()}-alpha", alpha, Colour.GREY)):
            new_file(FOLDER / f"standard-{name}.bin", standard_payload.write(file, plane, colour))
            record[f"standard-{name}"] = sha256(file)
    for name, skeleton in SKELETONS.items():
        new_file(FOLDER / f"skeleton-{name}.bin", pack(skeleton))
    new_file(RECORD, (json.dumps(record, indent=1) + "\n").encode())


@pytest.mark.parametrize("name", sources())
def test_kept_pixels_give_the_samples_and_facts_of_their_source(name: str) -> None:
    assert facts((FOLDER / f"{name}.jxl").read_bytes()) == json.loads(RECORD.read_text())[name]


@pytest.mark.parametrize("name", ["standard-webp", "standard-webp-alpha", "standard-avif", "standard-avif-alpha"])
def test_standard_files_give_their_file_and_their_alpha(name: str) -> None:
    read = standard_payload.read((FOLDER / f"{name}.bin").read_bytes())
    assert sha256(read.file) == json.loads(RECORD.read_text())[name]
    plane = read.alpha_plane(29, 45)
    if name.endswith("alpha"):
        assert plane is not None and np.array_equal(plane, (np.indices((29, 45)).sum(0) * 3).astype(np.uint8))
        assert read.colour == Colour.GREY
    else:
        assert plane is None and read.colour == Colour.RGB


@pytest.mark.parametrize("name", SKELETONS)
def test_skeletons_are_these_bytes(name: str) -> None:
    data = (FOLDER / f"skeleton-{name}.bin").read_bytes()
    assert unpack(data) == SKELETONS[name]
    assert pack(SKELETONS[name]) == data


if __name__ == "__main__":
    make()
