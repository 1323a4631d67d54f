"""The decoder written from docs/format.md alone (`reference_decoder.py`) agrees with the real one."""

import ast
import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.codec import Codec, Latents
from model.core.model_files import BASE
from model.core.picture import Picture
from tests.conftest import photo_like
from tests.expected.make import FOLDER as GOLDEN
from tests.model import reference_decoder
from tests.model.reference_decoder import Decoded
from tests.model.test_golden import SYMBOLS


def same_numbers(ours: Latents, theirs: Decoded) -> bool:
    pairs = ((ours.z, theirs.z), (ours.symbols, theirs.symbols), (ours.indices, theirs.indices))
    return all(np.array_equal(a, b) for a, b in pairs)


def largest_difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b).max())


def test_the_reference_decoder_uses_nothing_of_maepress() -> None:
    tree = ast.parse(Path(reference_decoder.__file__).read_text())
    modules = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {"hashlib", "json", "struct", "zlib", "collections.abc", "dataclasses", "pathlib", "numpy", "numpy.typing"}
    assert modules == ours


@pytest.mark.parametrize("name", SYMBOLS)
def test_golden_files_decode_as_documented(name: str) -> None:
    theirs = reference_decoder.decode((GOLDEN / f"{name}.mae").read_bytes(), GOLDEN / "model")
    numbers = theirs.z.astype("<i1").tobytes() + theirs.symbols.astype("<i4").tobytes()
    assert hashlib.sha256(numbers + theirs.indices.astype("<u1").tobytes()).hexdigest() == SYMBOLS[name]
    with Image.open(GOLDEN / f"{name}.png") as image:
        expected = np.atleast_3d(np.asarray(image))
    colours = 1 if theirs.grey else 3
    assert largest_difference(expected[..., :colours], theirs.pixels) <= 1
    if theirs.alpha is not None:
        assert np.array_equal(theirs.alpha, expected[..., colours])


@pytest.mark.parametrize(("channels", "quality"), [(3, 0), (3, 7), (1, 40), (3, 63)])
def test_a_payload_decodes_as_documented(
    tiny_codec: Codec, tiny_model_folder: Path, channels: int, quality: int
) -> None:
    alpha = photo_like(37, 50, 1, seed=quality)[..., 0]
    original = Picture(photo_like(37, 50, channels, seed=quality), alpha)
    (made,) = tiny_codec.analyse([original], quality)
    payload = tiny_codec.coder.encode(made, icc=b"profile")
    theirs = reference_decoder.decode(payload, tiny_model_folder)
    assert (theirs.width, theirs.height, theirs.grey) == (50, 37, channels == 1)
    assert (theirs.quality, theirs.model) == (quality, tiny_codec.fingerprint)
    assert theirs.sections[128] == b"profile"
    assert same_numbers(made, theirs)
    assert np.array_equal(theirs.alpha, alpha)  # type: ignore[arg-type]
    assert largest_difference(tiny_codec.decompress([payload])[0].pixels, theirs.pixels) <= 1


def test_symbols_beyond_every_table_decode_as_documented(tiny_codec: Codec, tiny_model_folder: Path) -> None:
    (made,) = tiny_codec.analyse([Picture(photo_like(37, 50))], 30)
    symbols = made.symbols.astype(np.int32)
    symbols[0, 0, 1:3] = 4_000, -(2**30 - 1)  # of the third pass; no scale index depends on it
    changed = Latents(made.header, made.z, symbols, made.indices)
    assert same_numbers(changed, reference_decoder.decode(tiny_codec.coder.encode(changed), tiny_model_folder))


@pytest.mark.parametrize("quality", [0, 21, 45, 63])
def test_the_shipped_model_decodes_as_documented(quality: int) -> None:
    codec = Codec.load("base")
    (made,) = codec.analyse([Picture(photo_like(150, 100, seed=quality))], quality)
    payload = codec.coder.encode(made)
    theirs = reference_decoder.decode(payload, BASE)
    assert same_numbers(made, theirs)
    assert largest_difference(codec.decompress([payload])[0].pixels, theirs.pixels) <= 1


def test_a_photograph_decodes_as_documented(shared_data: Path) -> None:
    with Image.open(shared_data / "kodak" / "kodim23.png") as image:
        pixels = np.asarray(image)[100:292, 200:420]
    codec = Codec.load("base")
    (made,) = codec.analyse([Picture(pixels)], 50)
    payload = codec.coder.encode(made)
    theirs = reference_decoder.decode(payload, BASE)
    assert same_numbers(made, theirs)
    assert largest_difference(codec.decompress([payload])[0].pixels, theirs.pixels) <= 1
