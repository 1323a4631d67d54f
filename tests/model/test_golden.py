"""Golden payloads decode to the same symbols exactly, and to the same pixels within a rounding step.

The files never change: version 1 is final (`tests/expected/make.py` made them). A change
that fails this test is wrong, or it is a new format version, which must read the old one, too.
"""

import hashlib
import json

import numpy as np
import pytest
import torch
from PIL import Image

from model import checkpoint
from model.bitstream import container
from model.bitstream.container import Tag
from model.codec import Codec
from model.core.target import Target
from model.layers.blocks import set_compute_dtype
from tests.expected.make import FOLDER, digest, pictures

VERSION_1 = "a870963b166a8e244ed53e14c8a01d64d776c5e8d26077c89858e4430e80cd70"
"""SHA-256 of the golden model and payloads."""
SYMBOLS: dict[str, str] = json.loads((FOLDER / "symbols.json").read_text())


def payload(name: str) -> bytes:
    return (FOLDER / f"{name}.mae").read_bytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_golden_payloads_decode_to_their_symbols(dtype: torch.dtype) -> None:
    model = checkpoint.load(FOLDER / "model")
    codec = Codec(model)
    set_compute_dtype(model.network, dtype)
    restored = codec.restore([payload(name) for name in SYMBOLS])
    assert dict(zip(SYMBOLS, map(digest, restored), strict=True)) == SYMBOLS


@pytest.mark.parametrize("name", SYMBOLS)
def test_golden_payloads_decode_to_their_pixels(name: str) -> None:
    model = checkpoint.load(FOLDER / "model")
    codec = Codec(model)
    set_compute_dtype(model.network, torch.float32)
    (picture,) = codec.decompress([payload(name)])
    with Image.open(FOLDER / f"{name}.png") as image:
        expected = np.atleast_3d(np.asarray(image)).astype(int)
    colours = picture.pixels.shape[2]
    assert expected.shape[:2] == picture.pixels.shape[:2]
    assert np.abs(expected[..., :colours] - picture.pixels).max() <= 1
    if picture.alpha is not None:
        assert np.array_equal(picture.alpha, expected[..., colours])


def test_the_golden_files_are_those_of_version_1() -> None:
    """Whoever changes one changes what archives mean; add files for a new version instead."""
    names = [*(f"model/{name}" for name in ("config.json", "model.safetensors")), *(f"{name}.mae" for name in SYMBOLS)]
    assert hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in names)).hexdigest() == VERSION_1


def test_the_golden_files_cover_every_section() -> None:
    assert SYMBOLS.keys() == pictures().keys()
    sections = {name: container.read(payload(name))[1] for name in SYMBOLS}
    assert {sections[name][Tag.ESCAPES][0] for name in ("alpha", "escapes")} == {0, 1}, "plain and packed"
    assert {sections[name][Tag.ALPHA][0] for name in ("alpha", "grey-alpha", "unknown-section")} == {0, 1, 2}
    assert all(Tag.NUMBERS in s for s in sections.values())
    assert 200 in sections["unknown-section"]
    assert {Tag.ALPHA, Tag.ICC, Tag.EXIF, Tag.XMP} <= sections["alpha"].keys()
    assert container.read_header(payload("between-qualities")).fraction
    assert container.read_header(payload("grey")).colour == container.Colour.GREY
    assert len(set(SYMBOLS.values())) == len(SYMBOLS)


def test_encoding_gives_the_symbols_of_the_golden_files() -> None:
    # The encoder may improve; until then, this test detects unintended changes.
    codec = Codec.load(FOLDER / "model")
    for name, (picture, quality) in pictures().items():
        (latents,) = codec.analyse([picture], quality)
        (again,) = codec.restore([codec.coder.encode(latents)])
        golden = codec.restore([payload(name)])[0]
        if isinstance(quality, Target):  # a search may end at a neighbouring quality step
            assert latents.met and abs(latents.header.fine_quality - golden.header.fine_quality) <= 1, name
            continue
        # bfloat16 rounds a symbol the other way here and there, sometimes one of the few in the
        # smallest pictures.
        assert np.sum(again.symbols != golden.symbols) <= max(1, 0.02 * golden.symbols.size), name
