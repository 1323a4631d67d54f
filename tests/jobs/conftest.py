"""One Ray for the tests of jobs."""

from collections.abc import Iterator

import pytest
import ray

from jobs.cluster import quiet_data


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """A local Ray that the jobs in this process share."""
    if ray.is_initialized():
        yield
        return
    ray.init(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False)
    quiet_data()
    yield
    ray.shutdown()
