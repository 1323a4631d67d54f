"""Processing in tiles gives the same integers and pixels as in one piece, for any tiles."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch

from model import checkpoint
from model.bitstream.entropy_coder import Latents
from model.codec import Codec
from model.core.picture import Picture
from model.inference.tiling import TILE, TiledTensor, TileGrid, Window, sides_for
from model.layers.blocks import set_compute_dtype
from tests.conftest import photo_like

ONE_PIECE = 1 << 12
SIZES = [(200, 333), (333, 200), (16 * 24, 16 * 17), (16 * 17 + 1, 16 * 24 - 1), (70, 900), (900, 40)]


@pytest.fixture(scope="module")
def model(tiny_model_folder: object) -> checkpoint.Checkpoint:
    return checkpoint.load(str(tiny_model_folder))


def same_numbers(a: Latents, b: Latents) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("z", "symbols", "indices"))


@pytest.mark.parametrize(("size", "tile"), [*((size, 8) for size in SIZES), (SIZES[0], 4), (SIZES[3], 12)])
def test_payloads_do_not_depend_on_the_tiles(model: checkpoint.Checkpoint, size: tuple[int, int], tile: int) -> None:
    whole, tiled = Codec(model, tile=ONE_PIECE), Codec(model, tile=tile)
    set_compute_dtype(model.network, torch.float32)
    pictures = [Picture(photo_like(*size, seed=tile)), Picture(photo_like(*size, 1, seed=tile))]
    for quality in (12, 58):
        one, many = whole.analyse(pictures, quality), tiled.analyse(pictures, quality)
        for a, b in zip(one, many, strict=True):
            assert a.psnr == b.psnr
            assert whole.coder.encode(a) == tiled.coder.encode(b)


@pytest.mark.parametrize("tile", [4, 8])
def test_any_tiles_decode_payloads_encoded_with_any_other_tiles(model: checkpoint.Checkpoint, tile: int) -> None:
    whole, tiled = Codec(model, tile=ONE_PIECE), Codec(model, tile=tile)
    picture = Picture(photo_like(217, 300), photo_like(217, 300, 1)[..., 0])
    (payload,) = tiled.compress([picture], 47)
    assert same_numbers(whole.restore([payload])[0], tiled.restore([payload])[0])
    (one,), (many,) = whole.decompress([payload]), tiled.decompress([payload])
    assert np.array_equal(one.pixels, many.pixels)
    assert np.array_equal(many.alpha, picture.alpha)  # type: ignore[arg-type]


def test_halos_are_wide_enough_for_the_shipped_model() -> None:
    model = checkpoint.load("base")
    whole, tiled = Codec(model, tile=ONE_PIECE), Codec(model, tile=16)
    picture = Picture(photo_like(16 * 40 + 3, 16 * 20 - 5))
    (one,), (many,) = whole.analyse([picture], 50), tiled.analyse([picture], 50)
    assert same_numbers(one, many)
    assert one.psnr == many.psnr
    payload = whole.coder.encode(one)
    assert np.array_equal(whole.decompress([payload])[0].pixels, tiled.decompress([payload])[0].pixels)


def test_escapes_do_not_depend_on_the_tiles(model: checkpoint.Checkpoint) -> None:
    tiled = Codec(model, tile=4)
    noise = np.random.default_rng(0).integers(0, 2, (150, 170, 3)).astype(np.uint8) * 255
    (latents,) = tiled.analyse([Picture(noise)], 63)
    (again,) = Codec(model, tile=ONE_PIECE).restore([tiled.coder.encode(latents)])
    assert same_numbers(latents, again)


@pytest.mark.parametrize(("height", "width", "side"), [(1, 1, 4), (9, 50, 8), (130, 64, 64), (65, 64, 64), (7, 7, 4)])
def test_a_grid_covers_its_image_once(height: int, width: int, side: int) -> None:
    grid = TileGrid(height, width, (side, side))
    seen = np.zeros((1, height, width), int)
    for number, band in enumerate(grid.bands):
        for tile in band:
            seen[tile.slices] += 1
            assert max(tile.size) <= side
            assert tile.top % 4 == tile.left % 4 == 0
            assert grid.start_of(number) == (tile.top if height >= width else tile.left) < grid.end_of(tile)
    assert (seen == 1).all()
    assert max(map(len, grid.bands)) <= -(-min(height, width) // side) + 1


def test_sampled_positions_are_spread_evenly_over_a_window() -> None:
    window = Window(3, 5, 35, 53)
    positions = window.spread(256)
    assert len(set(positions)) == len(positions) > 250
    counts = np.zeros((4, 4), int)
    for position in positions:
        assert position.size == (1, 1)
        counts[(position.top - 3) // 8, (position.left - 5) // 12] += 1
    assert counts.min() >= 12 and counts.max() <= 20  # of 16
    assert len(Window(0, 0, 2, 3).spread(256)) <= 6


def test_a_tiled_tensor_gives_any_window_and_computes_each_tile_once() -> None:
    grid, made = TileGrid(30, 21, (8, 8)), []
    truth = torch.arange(30 * 21).reshape(1, 30, 21, 1)

    def make(tile: Window) -> torch.Tensor:
        made.append(tile)
        return truth[tile.slices]

    tensor = TiledTensor(grid, make)
    for window in (Window(0, 0, 30, 21), Window(7, 3, 9, 20), Window(8, 8, 9, 9), Window(29, 20, 30, 21)):
        assert torch.equal(tensor.window(window), truth[window.slices])
    assert len(made) == len(set(made)) == len(list(grid.tiles()))
    tensor.drop_before(grid.start_of(1))
    assert torch.equal(tensor.window(Window(0, 0, 30, 21)), truth)
    assert len(made) == len(list(grid.tiles())) + len(grid.bands[0])


def test_a_small_image_gets_smaller_tiles_so_that_all_threads_work() -> None:
    whole = TILE, TILE
    assert sides_for(48, 32, threads=1) == whole
    for size in ((48, 32), (32, 48), (40, 40), (90, 90), (20, 95)):
        assert len(list(TileGrid(*size, sides_for(*size, threads=2)).tiles())) == 2
    assert len(list(TileGrid(48, 32, sides_for(48, 32, threads=4)).tiles())) >= 3
    assert sides_for(3, 2, threads=8) == whole
    assert sides_for(15, 16, threads=2) == whole, "tiles would be smaller than the smallest"
    assert sides_for(1000, 1000, threads=2) == whole


def test_threads_do_not_wait_for_a_tile_while_another_is_free() -> None:
    grid, entered = TileGrid(4, 8, (4, 4)), Barrier(2, timeout=20)

    def make(tile: Window) -> torch.Tensor:
        entered.wait()  # passes only if two threads compute the two tiles at once
        return torch.zeros(1, *tile.size, 1)

    tensor = TiledTensor(grid, make)
    with ThreadPoolExecutor(2) as pool:
        shapes = list(pool.map(lambda _: tensor.window(grid.whole).shape, range(2)))
    assert shapes == [(1, 4, 8, 1)] * 2
