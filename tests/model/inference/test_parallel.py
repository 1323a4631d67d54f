"""Parallel work on pictures and tiles gives the same results in the same order."""

import multiprocessing
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from model import checkpoint
from model.codec import Codec
from model.core.picture import Picture
from model.core.target import Target
from model.inference.parallel import each
from model.inference.tiling import TiledTensor, TileGrid, Window
from tests.conftest import photo_like, threads

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    with threads(3):
        yield


def test_results_come_in_order_though_the_first_ends_last() -> None:
    others = threading.Barrier(2, timeout=60)

    def work(piece: int) -> tuple[int, int, bool]:
        if piece in (0, 4):
            others.wait()
        return piece, torch.get_num_threads(), torch.is_inference_mode_enabled()

    assert each(work, range(5), CPU) == [(i, 1, True) for i in range(5)]
    assert torch.get_num_threads() == 3


def test_a_single_piece_has_one_thread_unless_it_divides_its_work() -> None:
    assert each(lambda _: torch.get_num_threads(), [0], CPU) == [1]
    assert each(lambda _: torch.get_num_threads(), [0], CPU, divides=True) == [3]
    assert each(lambda _: torch.get_num_threads(), [0, 1], CPU, divides=True) == [1, 1]


def test_no_operator_of_the_codec_is_shared_by_threads(tiny_model_folder: object) -> None:
    codec = Codec(checkpoint.load(str(tiny_model_folder)))
    picture = Picture(photo_like(64, 80, seed=0))
    seen: list[int] = []
    for transform in (codec._network.analysis, codec._network.synthesis.coarse):
        transform.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    codec.decompress([codec.compress([picture], 40)[0]])
    assert set(seen) == {1}


def test_what_a_piece_raises_is_raised_and_the_threads_stay_as_they_were() -> None:
    def work(piece: int) -> int:
        if piece:
            raise KeyError(piece)
        return piece

    with pytest.raises(KeyError, match="1"):
        each(work, range(4), CPU)
    assert torch.get_num_threads() == 3


def doubled() -> list[int]:
    return each(lambda piece: 2 * piece, range(5), CPU)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_its_own_threads() -> None:
    assert doubled() == [0, 2, 4, 6, 8]  # the parent keeps threads, which a fork does not copy
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(doubled).get(timeout=60) == [0, 2, 4, 6, 8]


def test_when_a_piece_fails_the_others_have_ended_before_it_is_raised() -> None:
    ended: list[int] = []

    def work(piece: int) -> None:
        if piece == 0:
            raise KeyError(piece)
        time.sleep(0.1)
        ended.append(piece)

    with pytest.raises(KeyError):
        each(work, range(3), CPU)
    assert sorted(ended) == [1, 2]


def test_a_tile_is_computed_once_by_any_number_of_threads() -> None:
    grid = TileGrid(8, 8, (4, 4))
    made: list[Window] = []

    def make(tile: Window) -> torch.Tensor:
        made.append(tile)
        time.sleep(0.02)
        return torch.full((1, *tile.size, 1), float(threading.get_ident() % 7))

    tensor = TiledTensor(grid, make)
    each(lambda tile: tensor.window(tile.grown(2, grid.whole)), list(grid.tiles()), CPU)
    assert sorted(made, key=lambda t: (t.top, t.left)) == sorted(grid.tiles(), key=lambda t: (t.top, t.left))


@pytest.mark.parametrize("target", [Target(quality=50), Target(min_psnr=30.0)])
def test_payloads_and_pixels_are_those_of_one_thread(tiny_model_folder: object, target: Target) -> None:
    codec = Codec(checkpoint.load(str(tiny_model_folder)), tile=8)
    pictures = [Picture(photo_like(200, 333, seed=s)) for s in range(3)] + [Picture(photo_like(70, 900, 1))]
    many = codec.compress(pictures, target)
    pixels = [p.pixels for p in codec.decompress(many)]
    torch.set_num_threads(1)
    assert codec.compress(pictures, target) == many
    assert all((p.pixels == q).all() for p, q in zip(codec.decompress(many), pixels, strict=True))
