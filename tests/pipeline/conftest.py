"""What the pipeline's tests share: a real S3 server, a real Ray, and caches of their own."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from jobs.demo.s3_server import S3Server, s3_server
from pipeline.execution.ray_init import start_ray


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models are cached below the session's temporary folder, also by Ray's workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for the whole session, and the environment that makes s3:// mean it."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server, server.environment():
        yield server


_numbers = itertools.count()


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """The URL of a bucket's prefix where nothing is yet."""
    return f"{s3.bucket}/{next(_numbers)}"


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty place to write to: a local folder, and a prefix of a bucket."""
    if request.param == "local":
        return str(tmp_path / "place")
    return str(request.getfixturevalue("bucket"))


@pytest.fixture(scope="session")
def local_ray(s3: S3Server) -> Iterator[None]:
    """A Ray whose workers see the S3 server: they have the environment of the moment when it was started."""
    if ray.is_initialized():  # another floor's, from before the server
        ray.shutdown()
    start_ray(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
