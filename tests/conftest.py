"""Fixtures for every test: a small working model, small photographs, and the shared data."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from jobs.demo.s3_server import S3Server, s3_server
from model.checkpoint import serialise
from model.codec import Codec
from model.core.config import CodecConfig
from model.core.picture import Picture
from model.inference.encoder import Encoder
from model.inference.tiling import TILE
from model.network.network import Network
from tests.scheduling import ByModule, needs_ray

if TYPE_CHECKING:
    from pipeline.archive.archive import Archive

# Small operators on a busy machine: two threads wait for each other, up to fifty times as long as one works.
torch.set_num_threads(1)

# Who starts the tests in the background may have switched signals off, also for every process that they start.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

TINY = CodecConfig(
    patch_channels=48,
    latent_channels=64,
    hyper_channels=8,
    analysis_blocks=(1, 1),
    synthesis_blocks=(1, 1),
    hyper_width=16,
    context_width=32,
    scale_width=16,
)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Use `count` threads of torch in the `with` block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need Ray come first when several processes share the tests."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not needs_ray(item.path))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByModule:
    """The scheduler of pytest-xdist."""
    return ByModule(config, log)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread for every test: results may differ slightly with the number of threads."""
    with threads(1):
        yield


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that works untrained, thanks to its DCT start; it is stirred so that every layer matters."""
    folder = tmp_path_factory.mktemp("model")
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_codec(tiny_model_folder: Path) -> Codec:
    """The small model, loaded."""
    return Codec.load(tiny_model_folder)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models are cached below the session's temporary folder, also by Ray's workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for the whole session; the environment directs s3:// URLs to it."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server, server.environment():
        yield server


@pytest.fixture(scope="session")
def ray_environment(s3: S3Server, own_cache: None) -> Iterator[None]:
    """The environment of Ray's workers, who get that of the moment when Ray starts."""
    import ray

    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def local_ray(ray_environment: None) -> None:
    """One Ray for all tests in this process.

    A module that needs a Ray of its own shuts this one down, and its own in the end; the next module starts it again.
    """
    import ray

    from jobs.framework.ray_session import quiet_data
    from pipeline.execution.ray_init import start_ray

    if not ray.is_initialized():
        start_ray(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False, logging_level="ERROR")
        quiet_data()


@pytest.fixture(scope="session")
def small_archive(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, tiny_codec: Codec) -> "Archive":
    """The archive of `making.small_archive`; tests only read it."""
    from tests.pipeline import making

    return making.small_archive(tmp_path_factory.mktemp("small"), tiny_model_folder, tiny_codec)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The shared data; skips the test where it is not at hand."""
    folder = Path(os.environ.get("MAEPRESS_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder} (set MAEPRESS_DATA)")
    return folder


def write_tiny_model(folder: Path) -> None:
    """A small model that works untrained, thanks to its DCT start; it is stirred so that every layer matters."""
    torch.manual_seed(0)
    network = Network(TINY)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.003 * torch.randn_like(parameter))
    for name, data in serialise(network).items():
        (folder / name).write_bytes(data)


def ssimulacra2_at(codec: Codec, picture: Picture, fine_quality: float) -> float:
    """The score of a picture at a quality with its fraction."""
    encoder = Encoder(codec._network, [picture], torch.device("cpu"), (TILE, TILE))
    with torch.inference_mode():
        (made,) = encoder.quantise([0], [fine_quality], check=True, also=["ssimulacra2"])
    assert made.ssimulacra2 is not None
    return made.ssimulacra2


def photo_like(height: int, width: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth shapes with some texture, uint8 `[H, W, channels]`: compresses like a photograph, made in no time."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32) / 64
    planes = [
        128
        + 60 * np.sin(x * rng.uniform(0.5, 3) + rng.uniform(0, 6))
        + 50 * np.cos(y * rng.uniform(0.5, 3) + x * rng.uniform(0, 1))
        for _ in range(channels)
    ]
    noisy = np.stack(planes, -1) + rng.normal(0, 3, (height, width, 1))
    return noisy.clip(0, 255).astype(np.uint8)
