"""A GPU works on a whole piece before the host waits for it, once; seen on a simulated GPU."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.simulated_gpu import DEVICE, SimulatedGpu, load_codec
from model.codec import Codec
from model.core.picture import Picture
from model.core.target import Target
from model.inference import quantisation_pass
from model.metrics.psnr import psnr
from tests.conftest import photo_like

QUALITY = 40


def piece() -> list[Picture]:
    """Pictures of two sizes in latents; one is grey, others do not fill their last latents."""
    grey = Picture(photo_like(60, 90, seed=3)[..., :1])
    return [*(Picture(photo_like(64 - 3 * i, 96 - i, seed=i)) for i in range(3)), grey, Picture(photo_like(80, 33))]


@pytest.fixture(scope="module")
def gpu() -> Iterator[SimulatedGpu]:
    with SimulatedGpu() as simulated:
        yield simulated


@pytest.fixture(scope="module")
def on_gpu(gpu: SimulatedGpu, tiny_model_folder: Path) -> Codec:
    return load_codec(tiny_model_folder)


@pytest.mark.parametrize("tile", [96, 4], ids=["one tile each", "many tiles"])
def test_a_piece_of_several_sizes_is_waited_for_once(
    tile: int, gpu: SimulatedGpu, on_gpu: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_gpu, "_tile", tile)
    gpu.waits.clear()
    made = on_gpu.analyse(piece(), QUALITY)
    assert gpu.waits == ["synchronize"]
    assert all(x.psnr is not None and np.isfinite(x.psnr) for x in made)


def test_what_the_gpu_measured_is_what_a_cpu_decodes(gpu: SimulatedGpu, on_gpu: Codec, tiny_codec: Codec) -> None:
    pictures = piece()
    made = on_gpu.analyse(pictures, QUALITY, also=["ssimulacra2"])
    payloads = [on_gpu.coder.encode(x) for x in made]
    for before, x, after in zip(pictures, made, tiny_codec.decompress(payloads), strict=True):
        assert x.psnr == pytest.approx(psnr(before.pixels, after.pixels), abs=0.02)
        assert x.ssimulacra2 is not None


def test_symbols_beyond_16_bits_are_noticed_after_the_wait(
    gpu: SimulatedGpu, on_gpu: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    (narrow,) = on_gpu.analyse(piece()[:1], QUALITY)
    monkeypatch.setattr(quantisation_pass, "LARGEST", int(np.abs(narrow.symbols).max()) - 1)
    (wide,) = on_gpu.analyse(piece()[:1], QUALITY)
    assert wide.symbols.dtype == np.int32 and np.array_equal(wide.symbols, narrow.symbols)
    assert wide.psnr == narrow.psnr


def test_a_search_waits_for_the_sample_and_for_each_trial(gpu: SimulatedGpu, on_gpu: Codec) -> None:
    on_gpu.analyse(piece()[:1], Target(min_psnr=30))
    gpu.waits.clear()
    on_gpu.analyse(piece()[:1], Target(min_psnr=30))
    assert gpu.waits[1:] == ["synchronize"] * (len(gpu.waits) - 1)
    assert 2 <= len(gpu.waits) <= 8


def test_decoding_waits_for_the_indices_of_each_pass_and_for_the_pixels(
    gpu: SimulatedGpu, on_gpu: Codec, tiny_codec: Codec
) -> None:
    payloads = tiny_codec.compress(piece()[:1], QUALITY)
    gpu.waits.clear()
    (there,), (here,) = on_gpu.decompress(payloads), tiny_codec.decompress(payloads)
    assert gpu.waits == ["synchronize"] * 4
    assert np.abs(here.pixels.astype(int) - there.pixels.astype(int)).max() <= 1


WAITING: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "int": lambda x: int(x[0, 0]),
    "bool": lambda x: bool((x > 0).all()),
    "cpu": lambda x: x.cpu(),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "a mask": lambda x: x[x > 0],
    "indices of the host": lambda x: x[[0, 1]],
    "equal": lambda x: torch.equal(x, x + 1),
    "unique": lambda x: x.unique(),
    "values of the host": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "memory that is not pinned": lambda x: torch.ones(4).to(x.device, non_blocking=True),
    "a copy that is waited for": lambda x: torch.ones(4, pin_memory=True).to(x.device),
}


@pytest.mark.parametrize("name", WAITING)
def test_what_makes_a_host_wait_is_noticed(name: str, gpu: SimulatedGpu) -> None:
    x = torch.ones(3, 4, pin_memory=True).to(DEVICE, non_blocking=True)
    gpu.waits.clear()
    WAITING[name](x)
    assert gpu.waits


def test_what_does_not_is_not(gpu: SimulatedGpu) -> None:
    gpu.waits.clear()
    x = torch.ones(3, 4, pin_memory=True).to(DEVICE, non_blocking=True)
    here = torch.empty(3, 4, pin_memory=True)
    here.copy_(x @ x.T @ x + torch.arange(4, device=DEVICE), non_blocking=True)
    x[:, 1:] = 0
    assert not gpu.waits and (here == 77).all(), "a result is not there before it was waited for"
    torch.cuda.current_stream().synchronize()
    assert here[0].tolist() == [12, 13, 14, 15]
