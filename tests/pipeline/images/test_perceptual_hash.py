"""The perceptual hash is that of imagehash, is near for copies, and is none for what is flat."""

from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from pipeline.images.image_reader import read
from pipeline.images.limits import READING
from pipeline.images.perceptual_hash import checked_hash, perceptual_hash
from pipeline.images.reading import Reading
from pipeline.images.sandbox.sandbox import shared
from tests.conftest import photo_like
from tests.pipeline.making import image_file


def photo(seed: int, size: tuple[int, int] = (200, 160), mode: str = "RGB") -> Image.Image:
    return Image.fromarray(photo_like(size[1], size[0], 3, seed)).convert(mode)


def scene(seed: int) -> Image.Image:
    """Smooth areas of chance, with texture on them."""
    areas = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    large = Image.fromarray(areas).resize((200, 160), Image.Resampling.BICUBIC)
    return Image.blend(large, photo(seed), 0.1)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P"])
def test_it_is_the_hash_of_imagehash(mode: str) -> None:
    for seed in range(6):
        image = photo(seed, (60 + 31 * seed, 50 + 17 * seed), mode)
        found = perceptual_hash(image)
        assert found is not None
        assert f"{found % (1 << 64):016x}" == str(imagehash.phash(image))


def test_smaller_and_recompressed_copies_differ_in_few_bits_and_others_in_many(tmp_path: Path) -> None:
    hashes = []
    for seed in range(5):
        image = scene(seed)
        image.save(tmp_path / "copy.jpg", quality=60)
        copies = [image, image.resize((100, 80)), Image.open(tmp_path / "copy.jpg")]
        first, *others = (perceptual_hash(copy) for copy in copies)
        assert first is not None and all(distance(first, other) <= 4 for other in others)
        hashes.append(first)
    assert min(distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) > 10


def distance(a: int | None, b: int | None) -> int:
    assert a is not None and b is not None
    return ((a ^ b) % (1 << 64)).bit_count()


def test_a_flat_picture_has_none() -> None:
    assert perceptual_hash(Image.new("RGB", (70, 50), (200, 10, 30))) is None
    noise = np.full((50, 70), 128, np.uint8)
    noise[20:30, 20:30] = 131
    assert perceptual_hash(Image.fromarray(noise)) is not None


def test_the_sandbox_gives_the_hash_and_refuses_what_is_none() -> None:
    source = image_file("PNG", seed=3)
    here, there = read(source), shared(READING).read(source, max_pixels=1 << 20)
    assert isinstance(here, Reading) and isinstance(there, Reading)
    assert here.phash == there.phash is not None
    for wrong in (1 << 63, -(1 << 63) - 1, 1.0, "1", True):
        with pytest.raises(ValueError, match="no perceptual hash"):
            checked_hash(wrong)
