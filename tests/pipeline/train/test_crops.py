"""Training crops."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from model.core.errors import MaepressError
from pipeline.dataset.split import is_held_out
from pipeline.images.decode_rgb import decode_rgb
from pipeline.images.window import Window
from pipeline.train.crops import CropPool, Crops, validation_crop
from pipeline.train.validation import Validation
from tests.conftest import photo_like


def _png(height: int, width: int, seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(photo_like(height, width, seed=seed)).save(buffer, "PNG")
    return buffer.getvalue()


FILES = {"a": _png(100, 160, 1), "b": _png(90, 70, 2), "small": _png(40, 200, 3), "broken": b"no image"}


def _pool(keys: list[str], **more: object) -> CropPool:
    settings = {"crop": 64, "scales": (1.0, 1.0), "seed": [5], "pool_bytes": 1 << 20} | more
    return CropPool(keys, FILES.__getitem__, **settings)  # type: ignore[arg-type]


def _drawn(pool: CropPool, count: int) -> NDArray[np.uint8]:
    return np.stack([pool.next() for _ in range(count)])


def test_crops_are_pieces_of_the_usable_images_and_others_are_passed_over() -> None:
    batch = _drawn(_pool(list(FILES)), 50)
    assert batch.shape == (50, 64, 64, 3)
    levels = {name: np.unique(np.asarray(Image.open(io.BytesIO(FILES[name]))).reshape(-1, 3), axis=0) for name in "ab"}
    for crop in batch:
        colours = np.unique(crop.reshape(-1, 3), axis=0)
        assert any(set(map(tuple, colours)) <= set(map(tuple, known)) for known in levels.values()), (
            "a crop must come from one image, unscaled"
        )


def test_crops_that_are_not_shrunk_lie_on_the_grid_of_jpeg_blocks() -> None:
    row, column = np.mgrid[:150, :230].astype(np.uint8) % 16
    image = Image.fromarray(np.stack([row, column, row], -1))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    pool = CropPool(["k"], lambda key: buffer.getvalue(), crop=64, scales=(1.0, 1.0), seed=[3], pool_bytes=1 << 20)
    crops = _drawn(pool, 60)
    assert (crops[:, 0, :, 0] == 0).all(), "rows begin at a multiple of 16"
    assert {tuple(crop[0, ::63, 1]) for crop in crops} == {(0, 15), (15, 0)}, "columns, too, as they are or mirrored"
    assert validation_crop(image, 64)[0, 0, 0].tolist() == [0, 0, 0]


def test_the_same_seed_draws_the_same_crops_and_another_seed_others() -> None:
    first, again, other = (_drawn(_pool(["a", "b"], seed=[s]), 8) for s in (1, 1, 2))
    assert (first == again).all()
    assert not (first == other).all()


def test_a_pool_smaller_than_the_archive_still_gets_to_see_every_image() -> None:
    seen: list[str] = []

    def fetch(key: str) -> bytes:
        seen.append(key)
        return FILES["a"]

    pool = CropPool(
        [f"k{i}" for i in range(40)], fetch, crop=64, scales=(0.7, 1.0), seed=[0], pool_bytes=3 * 100 * 160 * 5
    )
    _drawn(pool, 960)
    assert len(set(seen)) == 40


def test_a_crop_as_large_as_its_image_fits_whatever_the_quotients_round_to() -> None:
    for side in (98, 129, 196, 239):  # 64 / (1 / (98 / 64)) is above 98
        files = {"only": _png(side, side + 1)}
        scales = (64 / side / 2, 64 / side / 2)
        pool = CropPool(["only"], files.__getitem__, crop=64, scales=scales, seed=[1], pool_bytes=1 << 20)
        assert _drawn(pool, 8).shape == (8, 64, 64, 3)


@pytest.mark.parametrize("size", [(100, 100), (4000, 3000), (3000, 4000), (90_000, 200), (150, 50_000), (1, 10**7)])
@pytest.mark.parametrize("place", [0.0, 0.37, 0.999])
def test_a_window_is_a_part_of_the_image_no_larger_than_asked_and_on_the_grid(
    size: tuple[int, int], place: float
) -> None:
    left, top, right, bottom = Window(300_000, 128, place, place).box(*size)
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1] and left % 16 == top % 16 == 0
    assert (right - left) * (bottom - top) <= 300_000
    assert min(right - left, bottom - top) >= min(128, *size)
    if size[0] * size[1] > 300_000:
        assert (right - left) * (bottom - top) > 250_000, "as much as may be"


def _peak_growth(work: Callable[[], object]) -> int:
    """Bytes by which this process's largest resident size grows beyond its size before."""

    def value(name: str) -> int:
        return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10  # type: ignore[index]

    try:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    except OSError as e:
        pytest.skip(f"the peak cannot be measured here: {e}")
    before = value("VmRSS")
    work()
    return value("VmHWM") - before


def test_memory_is_limited_by_the_pool_and_not_by_the_size_of_the_images() -> None:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((4000, 3000)).save(buffer, "PNG", compress_level=1)
    batch, pool_bytes, decoded = 6, 4 << 20, 3 * 4000 * 3000
    pools = [
        CropPool(
            ["a", "b", "c"], lambda _: buffer.getvalue(), crop=64, scales=(0.5, 1.0), seed=[n], pool_bytes=pool_bytes
        )
        for n in range(batch)
    ]
    _peak_growth(pools[0].next)  # starts the sandbox
    grown = _peak_growth(lambda: [_drawn(pool, 40) for pool in pools])
    assert grown < batch * pool_bytes + decoded < batch * 2 * decoded / 4
    windows = [Window(1 << 18, 128, 0.5, y) for y in (0.0, 0.9)]
    assert len({decode_rgb(buffer.getvalue(), window).tobytes() for window in windows}) == 2  # type: ignore[union-attr]


def test_held_out_images_of_any_size_are_kept_as_crops_only() -> None:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((5000, 4000)).save(buffer, "PNG", compress_level=1)
    grown = _peak_growth(lambda: Validation(["a"] * 3, lambda _: buffer.getvalue(), 0, 1, torch.device("cpu")))
    assert grown < 3 * 3 * 5000 * 4000


def test_without_a_usable_image_the_error_says_so() -> None:
    with pytest.raises(MaepressError, match="no image to train on"):
        _pool(["small", "broken"]).next()


def test_a_pool_without_a_usable_image_of_its_own_takes_those_of_others() -> None:
    pool = _pool(["small", "broken"], others=["broken", "a"])
    assert _drawn(pool, 3).shape == (3, 64, 64, 3)


@pytest.mark.parametrize("images", [5, 40], ids=["few images", "enough for places to have their own"])
def test_a_batch_holds_the_same_crops_whatever_the_number_of_ranks(images: int) -> None:
    files = {f"{i}.png": _png(80, 90, i) for i in range(images)}

    def share(places: range, seed: int = 3) -> Crops:
        return Crops(list(files), files.__getitem__, batch=4, places=places, crop=64, scales=(0.8, 1.0), seed=[seed, 0])

    whole, parts, other = share(range(4)), [share(range(0, 2)), share(range(2, 4))], share(range(4), seed=4)
    for _ in range(20):
        batch = whole.next()
        assert torch.equal(batch, torch.cat([part.next() for part in parts]))
        assert not torch.equal(batch, other.next())
        assert len({crop.numpy().tobytes() for crop in batch}) == 4


def test_the_held_out_share_is_about_as_asked_and_stays_the_same() -> None:
    keys = [f"photos/{i}.jpg" for i in range(4000)]
    held = [k for k in keys if is_held_out(k, 0.05)]
    assert 140 < len(held) < 260
    assert held == [k for k in keys if is_held_out(k, 0.05)]


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_validation_crops_have_sides_of_whole_hyper_latents(scale: float, tmp_path: Path) -> None:
    crop = validation_crop(Image.open(io.BytesIO(_png(300, 500))), 256, scale)
    assert crop.shape == ((1, 256, 256, 3) if scale == 1 else (1, 128, 192, 3))
    assert 0 <= float(crop.min()) <= float(crop.max()) <= 1
