"""The codec on a GPU: payloads from a GPU decode on a CPU, and the other way round."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from model.codec import Codec
from model.core.picture import Picture
from tests.conftest import photo_like

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
QUALITY = 40


@pytest.fixture
def on_gpu(tiny_model_folder: Path) -> Codec:
    return Codec.load(tiny_model_folder, device="cuda")


def pictures(count: int = 6) -> list[Picture]:
    return [Picture(photo_like(200 + 16 * (i % 2), 300, seed=i)) for i in range(count)]


@pytest.mark.parametrize("encoder", ["cpu", "cuda"])
def test_every_device_decodes_the_payloads_of_another_to_the_same_numbers(
    encoder: str, tiny_codec: Codec, on_gpu: Codec
) -> None:
    payloads = (tiny_codec if encoder == "cpu" else on_gpu).compress(pictures(), QUALITY)
    for here, there in zip(tiny_codec.restore(payloads), on_gpu.restore(payloads), strict=True):
        assert np.array_equal(here.symbols, there.symbols) and np.array_equal(here.z, there.z)
    for one, other in zip(tiny_codec.decompress(payloads), on_gpu.decompress(payloads), strict=True):
        assert np.abs(one.pixels.astype(int) - other.pixels.astype(int)).max() <= 1


def test_two_threads_with_a_stream_each_give_the_payloads_of_one(on_gpu: Codec) -> None:
    def in_a_stream(seed: int) -> list[bytes]:
        with torch.cuda.stream(torch.cuda.Stream()):
            return on_gpu.compress([Picture(photo_like(512, 512, seed=seed))], QUALITY)

    alone = [in_a_stream(seed) for seed in range(16)]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(in_a_stream, range(16))) == alone
