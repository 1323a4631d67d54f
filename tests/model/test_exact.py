"""The shipped model encodes and decodes photographs to the same integers in any arrangement; archives rely on this.

`python -m bench.exactness` tests more pictures, other processors' arithmetic and other versions of
torch.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from bench.exact.compare import compare
from bench.exact.environments import PROCESSORS, Environment, observe_there
from bench.exact.observe import Arrangement, Observation, observe
from model.core.picture import Picture

QUALITIES = (12, 55)
SIZE = (100, 130)
PLAIN, HALF = Arrangement(), Arrangement(bfloat16=True)
SAME = [
    replace(PLAIN, threads=2),
    replace(PLAIN, threads=4),
    replace(PLAIN, batch=8),
    replace(PLAIN, tile=4),
    replace(PLAIN, threads=2, batch=4, tile=8),
]


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    photographs = [getattr(data, name)() for name in ("astronaut", "coffee", "chelsea", "rocket")]
    corners = [(20, 30), (90, 200)]
    parts = [pixels[y : y + SIZE[0], x : x + SIZE[1]] for pixels in photographs for y, x in corners]
    return [Picture(np.ascontiguousarray(part)) for part in parts]


@pytest.fixture(scope="module")
def plain(pictures: list[Picture]) -> Observation:
    return observe(PLAIN, pictures, QUALITIES, [])


@pytest.fixture(scope="module")
def half(pictures: list[Picture], plain: Observation) -> Observation:
    return observe(HALF, pictures, QUALITIES, plain.payloads)


@pytest.mark.parametrize("arrangement", SAME, ids=lambda a: a.name)
def test_threads_batches_and_tiles_change_no_byte_and_no_number(
    pictures: list[Picture], plain: Observation, arrangement: Arrangement
) -> None:
    difference = compare(plain, observe(arrangement, pictures, QUALITIES, plain.payloads))
    assert difference.payloads == 0
    assert difference.is_exact, difference


def test_bfloat16_reads_the_same_numbers_and_pixels_within_a_level(plain: Observation, half: Observation) -> None:
    assert compare(plain, half).is_exact, compare(plain, half)


def test_what_bfloat16_wrote_reads_the_same_in_float32(
    pictures: list[Picture], plain: Observation, half: Observation
) -> None:
    # bfloat16 rounds some latents the other way, as an encoder may; else the test would test
    # nothing.
    assert half.payloads != plain.payloads
    read = observe(PLAIN, pictures[:1], QUALITIES[:1], half.payloads).read
    assert all(np.array_equal(a, b) for a, b in zip(half.written, read, strict=True))


@pytest.mark.parametrize("start", [PLAIN, HALF], ids=["float32", "bfloat16"])
def test_without_onednn_the_same_numbers_are_read(pictures: list[Picture], start: Arrangement) -> None:
    plain = observe(PLAIN, pictures[:2], QUALITIES, [])
    other = observe(replace(start, onednn=False), pictures[:2], QUALITIES, plain.payloads)
    assert compare(plain, other).is_exact, compare(plain, other)


@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda p: p.name)
def test_processors_without_wide_vectors_read_the_same_numbers(
    pictures: list[Picture], tmp_path: Path, processor: Environment
) -> None:
    files = [tmp_path / f"{i}.png" for i in range(2)]
    for file, picture in zip(files, pictures, strict=False):
        Image.fromarray(picture.pixels).save(file)
    plain = observe(PLAIN, pictures[:2], QUALITIES, [])
    there = observe_there(processor, PLAIN, files, SIZE, QUALITIES, plain.payloads)
    assert compare(plain, there).is_exact, compare(plain, there)
